//! Vectors of the processor's own width, and the choice of it.
//!
//! A kernel is written once, over [`Vector`], and compiled for each width. A [`Job`] is what runs with the
//! instructions of a width: [`Vector::run`] is the one door to them, and what a job calls is inlined into it.

/// A piece of work over vectors.
pub(crate) trait Job {
    /// Does the work. It is `#[inline(always)]`, as all that it calls with vectors, so that it is compiled for `V`.
    ///
    /// # Safety
    ///
    /// It runs under [`Vector::run`].
    unsafe fn work<V: Vector>(self);
}

/// A part of a matrix, of at most [`Vector::LANES`] rows and as many columns, and where its transpose is written.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub from: *const f32,
    /// From one row to the next.
    pub from_pitch: usize,
    pub rows: usize,
    pub columns: usize,
    pub to: *mut f32,
    /// From one column to the next, where it is written; it wraps around where columns are written from the last on.
    pub to_pitch: usize,
    /// How many numbers of each column are written: `rows`, or up to `LANES` where zeros follow.
    pub written: usize,
}

/// No vector has more lanes.
pub(crate) const MOST_LANES: usize = 16;

/// A vector of [`LANES`](Vector::LANES) numbers.
///
/// # Safety
///
/// All methods but [`run`](Vector::run) are called under it. It is called where [`Width::of`] chose the type. Pointers
/// are to `LANES` numbers, in any alignment.
pub(crate) trait Vector: Copy {
    const LANES: usize;
    /// How many vectors of sums fit into the registers, beside the few that are read.
    const SUMS: usize;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// The first `lanes` numbers alone, and zeros.
    unsafe fn load_first(from: *const f32, lanes: usize) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `self · factor + sum`
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;

    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        // SAFETY: as this method's.
        unsafe { self.mul_add(factor, Self::splat(0.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as this method's.
        unsafe { other.mul_add(Self::splat(-1.0), self) }
    }

    /// The sum of all lanes.
    #[inline(always)]
    unsafe fn total(self) -> f32 {
        let mut lanes = [0.0; MOST_LANES];
        // SAFETY: as this method's; there is room.
        unsafe { self.store(lanes.as_mut_ptr()) };
        let mut half = Self::LANES / 2;
        while half > 0 {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
            half /= 2;
        }
        lanes[0]
    }

    /// Writes the transpose of a part of a matrix.
    unsafe fn turn(turn: Turn);
    /// Runs a job with the instructions of this width.
    unsafe fn run<J: Job>(job: J);
}

/// Which vectors to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Sixteen numbers, as the compiler sees fit.
    Sixteen,
    /// Eight.
    Eight,
}

impl Width {
    /// All that the processor has, the best first.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                all.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self::Avx2);
            }
        }
        all.extend([Self::Eight, Self::Sixteen]);
        all
    }

    /// The best whose lanes are a block of `block` channels, or of all.
    pub(crate) fn of(block: Option<usize>) -> Option<Self> {
        Self::all().into_iter().find(|width| block.is_none_or(|block| block == width.lanes()))
    }

    pub(crate) fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 8,
            Self::Sixteen => 16,
            Self::Eight => 8,
        }
    }
}

/// Evaluates an expression with the vectors of a [`Width`].
macro_rules! with_width {
    ($width:expr, $V:ident => $call:expr) => {
        match $width {
            #[cfg(target_arch = "x86_64")]
            $crate::vector::Width::Avx512 => {
                type $V = $crate::vector::Avx512;
                $call
            }
            #[cfg(target_arch = "x86_64")]
            $crate::vector::Width::Avx2 => {
                type $V = $crate::vector::Avx2;
                $call
            }
            $crate::vector::Width::Sixteen => {
                type $V = $crate::vector::Portable<16>;
                $call
            }
            $crate::vector::Width::Eight => {
                type $V = $crate::vector::Portable<8>;
                $call
            }
        }
    };
}
pub(crate) use with_width;

/// Numbers that the compiler makes vectors of, where it can.
#[derive(Clone, Copy)]
pub(crate) struct Portable<const LANES: usize>([f32; LANES]);

impl<const N: usize> Vector for Portable<N> {
    const LANES: usize = N;
    const SUMS: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; N])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: `from` is to N numbers, and an array is aligned as they are.
        Self(unsafe { from.cast::<[f32; N]>().read() })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, lanes: usize) -> Self {
        let mut first = [0.0; N];
        for (lane, to) in first.iter_mut().enumerate().take(lanes) {
            // SAFETY: `from` is to `lanes` numbers.
            *to = unsafe { *from.add(lane) };
        }
        Self(first)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as in `load`.
        unsafe { to.cast::<[f32; N]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        let mut result = sum;
        for lane in 0..N {
            result.0[lane] += self.0[lane] * factor.0[lane];
        }
        result
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        let mut result = self;
        for lane in 0..N {
            result.0[lane] += other.0[lane];
        }
        result
    }

    unsafe fn turn(turn: Turn) {
        for column in 0..turn.columns {
            for row in 0..turn.written {
                // SAFETY: row and column are in the matrix, or only in what is written.
                unsafe {
                    let value = if row < turn.rows { *turn.from.add(row * turn.from_pitch + column) } else { 0.0 };
                    *turn.to.wrapping_add(column.wrapping_mul(turn.to_pitch)).add(row) = value;
                }
            }
        }
    }

    unsafe fn run<J: Job>(job: J) {
        // SAFETY: these vectors need no instructions of their own.
        unsafe { job.work::<Self>() }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Job, Turn, Vector};
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    // In all of these: the methods run under `run`, which has AVX-512F.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Vector for Avx512 {
        const LANES: usize = 16;
        const SUMS: usize = 24;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            Self(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Self(unsafe { _mm512_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, lanes: usize) -> Self {
            Self(unsafe { _mm512_maskz_loadu_ps(mask(lanes), from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, sum.0) })
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn turn(turn: Turn) {
            unsafe {
                let columns = mask(turn.columns);
                let mut v = [_mm512_setzero_ps(); 16];
                let mut from = turn.from;
                if turn.rows == 16 {
                    for v in &mut v {
                        *v = _mm512_maskz_loadu_ps(columns, from);
                        from = from.wrapping_add(turn.from_pitch);
                    }
                } else {
                    for (row, v) in v.iter_mut().enumerate() {
                        if row < turn.rows {
                            *v = _mm512_maskz_loadu_ps(columns, from);
                            from = from.wrapping_add(turn.from_pitch);
                        }
                    }
                }
                // Quarters of four lanes: transposed within themselves, then among each other.
                let mut q = [_mm512_setzero_ps(); 16];
                for i in 0..4 {
                    let [a, b, c, d] = [v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]];
                    let ab = [_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)];
                    let cd = [_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)];
                    q[4 * i] = _mm512_shuffle_ps::<0x44>(ab[0], cd[0]);
                    q[4 * i + 1] = _mm512_shuffle_ps::<0xee>(ab[0], cd[0]);
                    q[4 * i + 2] = _mm512_shuffle_ps::<0x44>(ab[1], cd[1]);
                    q[4 * i + 3] = _mm512_shuffle_ps::<0xee>(ab[1], cd[1]);
                }
                for i in 0..4 {
                    let [a, b, c, d] = [q[i], q[4 + i], q[8 + i], q[12 + i]];
                    let low = [_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d)];
                    let high = [_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d)];
                    v[i] = _mm512_shuffle_f32x4::<0x88>(low[0], low[1]);
                    v[4 + i] = _mm512_shuffle_f32x4::<0x88>(high[0], high[1]);
                    v[8 + i] = _mm512_shuffle_f32x4::<0xdd>(low[0], low[1]);
                    v[12 + i] = _mm512_shuffle_f32x4::<0xdd>(high[0], high[1]);
                }
                let written = mask(turn.written);
                let mut to = turn.to;
                if turn.columns == 16 {
                    for v in v {
                        _mm512_mask_storeu_ps(to, written, v);
                        to = to.wrapping_add(turn.to_pitch);
                    }
                } else {
                    for (column, v) in v.into_iter().enumerate() {
                        if column < turn.columns {
                            _mm512_mask_storeu_ps(to, written, v);
                            to = to.wrapping_add(turn.to_pitch);
                        }
                    }
                }
            }
        }

        #[inline(always)]
        unsafe fn run<J: Job>(job: J) {
            #[target_feature(enable = "avx512f")]
            unsafe fn with_instructions<J: Job>(job: J) {
                unsafe { job.work::<Avx512>() }
            }
            unsafe { with_instructions(job) }
        }
    }

    /// The first `lanes` of sixteen.
    #[inline(always)]
    fn mask(lanes: usize) -> __mmask16 {
        (0xffff_u32 >> (16 - lanes.min(16))) as u16
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256);

    // In all of these: the methods run under `run`, which has AVX2 and FMA.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Vector for Avx2 {
        const LANES: usize = 8;
        const SUMS: usize = 12;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            Self(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Self(unsafe { _mm256_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, lanes: usize) -> Self {
            Self(unsafe { _mm256_maskload_ps(from, self::lanes(lanes)) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm256_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
            Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, sum.0) })
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn turn(turn: Turn) {
            unsafe {
                let columns = lanes(turn.columns);
                let mut v = [_mm256_setzero_ps(); 8];
                for (row, v) in v.iter_mut().enumerate() {
                    if row < turn.rows {
                        *v = _mm256_maskload_ps(turn.from.wrapping_add(row.wrapping_mul(turn.from_pitch)), columns);
                    }
                }
                let mut q = [_mm256_setzero_ps(); 8];
                for i in 0..2 {
                    let [a, b, c, d] = [v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]];
                    let ab = [_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)];
                    let cd = [_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d)];
                    q[4 * i] = _mm256_shuffle_ps::<0x44>(ab[0], cd[0]);
                    q[4 * i + 1] = _mm256_shuffle_ps::<0xee>(ab[0], cd[0]);
                    q[4 * i + 2] = _mm256_shuffle_ps::<0x44>(ab[1], cd[1]);
                    q[4 * i + 3] = _mm256_shuffle_ps::<0xee>(ab[1], cd[1]);
                }
                for i in 0..4 {
                    v[i] = _mm256_permute2f128_ps::<0x20>(q[i], q[4 + i]);
                    v[4 + i] = _mm256_permute2f128_ps::<0x31>(q[i], q[4 + i]);
                }
                let written = lanes(turn.written);
                for (column, v) in v.iter().enumerate() {
                    if column < turn.columns {
                        let to = turn.to.wrapping_add(column.wrapping_mul(turn.to_pitch));
                        _mm256_maskstore_ps(to, written, *v);
                    }
                }
            }
        }

        #[inline(always)]
        unsafe fn run<J: Job>(job: J) {
            #[target_feature(enable = "avx2,fma")]
            unsafe fn with_instructions<J: Job>(job: J) {
                unsafe { job.work::<Avx2>() }
            }
            unsafe { with_instructions(job) }
        }
    }

    /// The first `count` of eight lanes.
    #[inline(always)]
    unsafe fn lanes(count: usize) -> __m256i {
        const ONES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: eight numbers from at most the eighth on are in the array; runs under `run`.
        unsafe { _mm256_loadu_si256(ONES.as_ptr().wrapping_add(8 - count.min(8)).cast()) }
    }
}
