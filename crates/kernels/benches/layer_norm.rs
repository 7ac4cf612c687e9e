//! The speed of LayerNormalization and its gradient, as they occur in a step: one line each, ns an element and GB/s.
//!
//! Each call has tensors of its own, which have long left the caches, as in a step.
//!
//! `cargo bench -p gnp-kernels --bench layer_norm`

use gnp_kernels::conv::Layout;
use gnp_kernels::layer_norm::{Channels, Cotangents, LayerNorm, LayerNormGrad, Normalised};
use gnp_kernels::threads::Caller;
use std::error::Error;
use std::time::{Duration, Instant};

/// So many floats lie between two calls with one tensor: more than caches hold.
const COLD: usize = 64 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let cases = [
        ("a ViT's tokens", Channels::last(&[32, 65, 192], -1)?),
        ("a wide ViT's tokens", Channels::last(&[8, 65, 768], -1)?),
        ("40 channels, last", Channels::last(&[32, 16, 16, 40], -1)?),
        ("40 channels, first", Channels::of_images(&[32, 40, 16, 16], Layout::Plain)?),
        ("160 channels, last", Channels::last(&[32, 8, 8, 160], -1)?),
        ("160 channels, first", Channels::of_images(&[32, 160, 8, 8], Layout::Plain)?),
        ("160 channels, in blocks", Channels::of_images(&[32, 10, 8, 8, 16], Layout::Blocked(16))?),
    ];
    let mut memory: Vec<f32> = (0..COLD + (16 << 20)).map(|i| ((i % 31) as f32 - 15.0) / 16.0).collect();
    println!("{:26} {:>24} {:>24}", "", "forward", "gradient");
    println!("{:26} {:>14} {:>9} {:>14} {:>9}", "", "ns/element", "GB/s", "ns/element", "GB/s");
    for (name, channels) in cases {
        let elements = channels.count() * channels.places();
        let scale = vec![0.5; channels.count()];
        let [mut mean, mut inverse_deviation] = [(); 2].map(|()| vec![0.5; channels.places()]);
        let [mut dscale, mut dbias] = [(); 2].map(|()| vec![0.0; channels.count()]);
        let mut least = [Duration::MAX; 2];
        for (is_gradient, least) in least.iter_mut().enumerate() {
            let (begin, mut at) = (Instant::now(), 0);
            while begin.elapsed() < Duration::from_millis(700) {
                let (read, rest) = memory[at..].split_at_mut(2 * elements);
                let (x, dy) = read.split_at(elements);
                let written = &mut rest[..elements];
                let now = Instant::now();
                if is_gradient == 1 {
                    let [mean, inverse_deviation] = [&mean, &inverse_deviation];
                    let grad = LayerNormGrad { channels, x, dy, scale: &scale, mean, inverse_deviation };
                    grad.run(Cotangents { dx: written, dscale: &mut dscale, dbias: &mut dbias }, &Caller)?;
                } else {
                    let norm = LayerNorm { channels, epsilon: 1e-5, x, scale: &scale, bias: Some(&scale) };
                    let (mean, inverse_deviation) = (&mut mean[..], &mut inverse_deviation[..]);
                    norm.run(Normalised { y: written, mean, inverse_deviation }, &Caller)?;
                }
                *least = (*least).min(now.elapsed());
                at = if at > COLD { 0 } else { at + 3 * elements };
            }
        }
        let each = |least: Duration| least.as_secs_f64() * 1e9 / elements as f64;
        let speed = |least: Duration, tensors: usize| (tensors * elements * 4) as f64 / least.as_secs_f64() / 1e9;
        let [forward, gradient] = least;
        println!(
            "{name:26} {:14.3} {:9.1} {:14.3} {:9.1}",
            each(forward),
            speed(forward, 2),
            each(gradient),
            speed(gradient, 3)
        );
    }
    Ok(())
}
