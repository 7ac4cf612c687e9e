//! Loops compiled for the vectors of several processors, chosen when they run.

use std::array;
use std::cell::Cell;

/// The floats that a loop takes at a time: a vector of AVX-512, two of AVX2, four of SSE or NEON.
pub(crate) const LANES: usize = 16;

/// What a compiled form of a loop may use. It runs on a processor that has it: [`run`] sees to that.
pub(crate) trait Level {
    /// Sums side by side.
    type Sums: Sums;

    /// a · b + c, rounded once where the processor has an instruction for it.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// Multiplications and additions are apart: a fused one would be a call.
pub(crate) struct Baseline;

impl Level for Baseline {
    type Sums = [f32; LANES];

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// The processor has fused multiply-add.
pub(crate) struct Fused;

impl Level for Fused {
    #[cfg(target_arch = "x86_64")]
    type Sums = avx::Halves;
    #[cfg(not(target_arch = "x86_64"))]
    type Sums = [f32; LANES];

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// [`LANES`] sums side by side. Loops that only add are the ones that compilers leave alone, since the order of
/// additions is part of the result.
pub(crate) trait Sums: Copy {
    fn zero() -> Self;
    /// Adds an element to each.
    fn plus(self, elements: &[Cell<f32>; LANES]) -> Self;
    /// Adds one to each.
    fn and(self, other: Self) -> Self;
    fn get(self) -> [f32; LANES];

    /// The sum of all, by halves.
    #[inline(always)]
    fn total(self) -> f32 {
        let lanes = self.get();
        let eight: [f32; 8] = array::from_fn(|lane| lanes[lane] + lanes[lane + 8]);
        let four: [f32; 4] = array::from_fn(|lane| eight[lane] + eight[lane + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
}

impl Sums for [f32; LANES] {
    #[inline(always)]
    fn zero() -> Self {
        [0.0; LANES]
    }

    #[inline(always)]
    fn plus(self, elements: &[Cell<f32>; LANES]) -> Self {
        array::from_fn(|lane| self[lane] + elements[lane].get())
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        array::from_fn(|lane| self[lane] + other[lane])
    }

    #[inline(always)]
    fn get(self) -> [f32; LANES] {
        self
    }
}

#[cfg(target_arch = "x86_64")]
mod avx {
    use super::{LANES, Sums};
    use std::arch::x86_64::{
        __m256, _mm_add_ps, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps, _mm256_add_ps, _mm256_castps256_ps128,
        _mm256_extractf128_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    };
    use std::cell::Cell;

    /// Two vectors of eight. Wider ones would add no faster than memory is read.
    #[derive(Clone, Copy)]
    pub(crate) struct Halves(__m256, __m256);

    // Of every call here: the level is only run where the processor has AVX.
    impl Sums for Halves {
        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: as above.
            unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
        }

        #[inline(always)]
        fn plus(self, elements: &[Cell<f32>; LANES]) -> Self {
            let from = elements.as_ptr().cast::<f32>();
            // SAFETY: as above; and there are sixteen elements, which nobody writes now.
            unsafe {
                let (low, high) = (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8)));
                Self(_mm256_add_ps(self.0, low), _mm256_add_ps(self.1, high))
            }
        }

        #[inline(always)]
        fn and(self, other: Self) -> Self {
            // SAFETY: as above.
            unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
        }

        #[inline(always)]
        fn get(self) -> [f32; LANES] {
            let mut lanes = [0.0f32; LANES];
            // SAFETY: as above; and there is room for sixteen.
            unsafe {
                _mm256_storeu_ps(lanes.as_mut_ptr(), self.0);
                _mm256_storeu_ps(lanes.as_mut_ptr().add(8), self.1);
            }
            lanes
        }

        #[inline(always)]
        fn total(self) -> f32 {
            // SAFETY: as above.
            unsafe {
                let eight = _mm256_add_ps(self.0, self.1);
                let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ps(two, _mm_movehdup_ps(two)))
            }
        }
    }
}

/// Loops that are worth vectors. What `run` calls has to be `#[inline(always)]`, else it stays at the baseline.
pub(crate) trait Vectorised: Sized {
    fn run<L: Level>(self);
}

/// Runs the loops in the form for this processor.
#[cfg(target_arch = "x86_64")]
pub(crate) fn run(loops: impl Vectorised) {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
    fn avx512(loops: impl Vectorised) {
        loops.run::<Fused>();
    }
    #[target_feature(enable = "avx2,fma,bmi2")]
    fn avx2(loops: impl Vectorised) {
        loops.run::<Fused>();
    }
    // What is detected is kept: these are loads.
    let has_avx2 =
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("bmi2");
    let has_avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (has_avx2, has_avx512) {
        // SAFETY: the processor has these features.
        (true, true) => unsafe { avx512(loops) },
        // SAFETY: as above.
        (true, false) => unsafe { avx2(loops) },
        (false, _) => loops.run::<Baseline>(),
    }
}

/// Runs the loops in the form for this processor.
#[cfg(target_arch = "aarch64")]
pub(crate) fn run(loops: impl Vectorised) {
    loops.run::<Fused>();
}

/// Runs the loops in the form for this processor.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn run(loops: impl Vectorised) {
    loops.run::<Baseline>();
}
