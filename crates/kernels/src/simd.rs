//! Loops compiled for the vectors of several processors, chosen when they run.

/// The floats that a loop takes at a time: a vector of AVX-512, two of AVX2, four of SSE or NEON.
pub(crate) const LANES: usize = 16;

/// What a compiled form of a loop may use.
pub(crate) trait Level {
    /// a · b + c, rounded once where the processor has an instruction for it.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// Multiplications and additions are apart: a fused one would be a call.
pub(crate) struct Baseline;

impl Level for Baseline {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// The processor has fused multiply-add.
pub(crate) struct Fused;

impl Level for Fused {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
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
