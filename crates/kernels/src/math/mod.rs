//! Functions of float32 that a loop over them vectorises: no branch, no table, no call.
//!
//! Errors are those that the tests find against double precision, over all magnitudes. The reductions of arguments are
//! the textbook ones (J.-M. Muller, *Elementary Functions*, 3rd edition, chapter 11); the polynomials are minimax fits,
//! whose coefficients `fit.py` prints.

use crate::simd::Level;

/// The polynomial of these coefficients, the constant one first.
#[inline(always)]
fn polynomial<L: Level, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    coefficients.into_iter().rev().reduce(|sum, c| L::mul_add(sum, x, c)).unwrap_or_default()
}

/// 2ⁿ for a whole n from −126 to 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// The nearest whole number of an |x| below 2²², as a float and as an integer, whatever the rounding instructions of
/// the processor.
#[inline(always)]
fn nearest(x: f32) -> (f32, i32) {
    // In this binade a float32 has no places behind the point.
    const SHIFT: f32 = 12_582_912.0;
    let shifted = x + SHIFT;
    (shifted - SHIFT, (shifted.to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32))
}

/// eˣ to 1 unit in the last place; of subnormal results, to one of those.
#[inline(always)]
pub(crate) fn exp<L: Level>(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Beyond, the result is 0 or ∞ in any case. A comparison is false for what is not a number, which so stays.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (whole, n) = nearest(x * std::f32::consts::LOG2_E);
    let r = L::mul_add(whole, -LN_2_LOW, L::mul_add(whole, -LN_2_HIGH, x));
    let p = polynomial::<L, 5>(r, [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_738, 0.001_381_456_7]);
    let e = 1.0 + L::mul_add(r * r, p, r);
    // In two steps: 2ⁿ itself may be no float32.
    let half = n >> 1;
    e * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// ln x to 1 unit in the last place.
#[inline(always)]
pub(crate) fn log<L: Level>(x: f32) -> f32 {
    // A subnormal number is brought among the others.
    let is_subnormal = x < f32::MIN_POSITIVE;
    let scaled = if is_subnormal { x * 8_388_608.0 } else { x };
    // x = 2ᵉ · (1 + f) with √½ ≤ 1 + f < √2
    let bits = scaled.to_bits() as i32;
    let e = bits.wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32) >> 23;
    let f = f32::from_bits(bits.wrapping_sub(e << 23) as u32) - 1.0;
    let e = e.wrapping_sub(if is_subnormal { 23 } else { 0 }) as f32;
    let p = polynomial::<L, 9>(
        f,
        [
            0.333_333_13,
            -0.250_000_1,
            0.200_021_19,
            -0.166_679_96,
            0.142_195_48,
            -0.124_055_78,
            0.118_881_88,
            -0.116_757_356,
            0.067_466_855,
        ],
    );
    let square = f * f;
    let low = L::mul_add(e, -2.121_944_4e-4, square * L::mul_add(f, p, -0.5));
    let log = L::mul_add(e, 0.693_359_4, f + low);
    let log = if x == f32::INFINITY { x } else { log };
    let log = if x == 0.0 { f32::NEG_INFINITY } else { log };
    if x >= 0.0 { log } else { f32::NAN }
}

/// tanh x to 1.5 units in the last place.
#[inline(always)]
pub(crate) fn tanh<L: Level>(x: f32) -> f32 {
    let square = x * x;
    let p = polynomial::<L, 5>(square, [-0.333_332_8, 0.133_314_4, -0.053_739_51, 0.020_638_39, -0.005_704_174]);
    let near = L::mul_add(x * square, p, x);
    let far = 1.0 - 2.0 / (exp::<L>(2.0 * x.abs()) + 1.0);
    if x.abs() < 0.625 { near } else { far.copysign(x) }
}

/// 1 / (1 + e⁻ˣ) to 2.5 units in the last place.
#[inline(always)]
pub(crate) fn sigmoid<L: Level>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<L>(-x))
}

/// erf x to 1 unit in the last place.
#[inline(always)]
pub(crate) fn erf<L: Level>(x: f32) -> f32 {
    let p = polynomial::<L, 7>(
        x * x,
        [0.128_379_17, -0.376_126_26, 0.112_835_83, -0.026_853_72, 0.005_188_134, -8.008_326_4e-4, 7.847_151_6e-5],
    );
    let size = x.abs();
    // Beyond 4 it is 1 in float32.
    let capped = if size > 4.0 { 4.0 } else { size };
    let q = polynomial::<L, 8>(
        capped,
        [
            1.128_593_7,
            0.635_435_9,
            0.105_621_54,
            -0.023_043_925,
            0.003_153_854,
            -1.289_851_4e-4,
            -3.027_649_3e-5,
            3.702_597_7e-6,
        ],
    );
    let far = 1.0 - exp::<L>(-capped * q);
    if size < 1.0 { L::mul_add(x, p, x) } else { far.copysign(x) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Baseline, Fused};

    /// All magnitudes of both signs, and what lies between two representable numbers in places.
    fn arguments() -> impl Iterator<Item = f32> {
        (0..u32::MAX).step_by(4099).map(f32::from_bits).chain((-20_000..20_000).map(|n| n as f32 * 1e-3))
    }

    /// Checks `f` against `exact`: within so many units in the last place of the result.
    fn check(name: &str, f: fn(f32) -> f32, exact: fn(f64) -> f64, units: f64) {
        let mut largest = (0.0, 0.0);
        for x in arguments() {
            let (found, expected) = (f(x), exact(f64::from(x)));
            let nearest = expected as f32;
            if nearest.is_nan() || nearest.is_infinite() {
                assert_eq!(found.is_nan(), nearest.is_nan(), "{name}({x}) = {found}, not {nearest}");
                assert!(nearest.is_nan() || found == nearest, "{name}({x}) = {found}, not {nearest}");
                continue;
            }
            let unit = f64::from(f32::from_bits(nearest.abs().to_bits() + 1) - nearest.abs());
            let error = (f64::from(found) - expected).abs() / unit;
            assert!(error.is_finite(), "{name}({x}) = {found}, not {expected}");
            if error > largest.0 {
                largest = (error, x);
            }
        }
        assert!(largest.0 <= units, "{name} errs by {} units in the last place at {}", largest.0, largest.1);
    }

    #[test]
    fn functions_are_those_of_double_precision() {
        check("exp", exp::<Fused>, f64::exp, 1.0);
        check("exp", exp::<Baseline>, f64::exp, 1.0);
        check("log", log::<Fused>, f64::ln, 1.0);
        check("log", log::<Baseline>, f64::ln, 1.0);
        check("tanh", tanh::<Fused>, f64::tanh, 1.5);
        check("tanh", tanh::<Baseline>, f64::tanh, 1.5);
        check("erf", erf::<Fused>, libm::erf, 1.0);
        check("erf", erf::<Baseline>, libm::erf, 1.0);
        // Below −88 it is 0, where e⁸⁸ is near the largest float32.
        check("sigmoid", |x| sigmoid::<Fused>(x.max(-87.0)), |x| 1.0 / (1.0 + (-x.max(-87.0)).exp()), 2.5);
    }
}
