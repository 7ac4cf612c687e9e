//! Image files as pixels of one size.

use super::memory;
use super::resize::{resize, sides};
use crate::augment::Region;
use gnp_base::{Error, Result, files};
use image::{GenericImageView, ImageReader};
use std::fmt::Display;
use std::fs;
use std::io::Cursor;
use std::path::Path;

/// The most pixels that an image may have, as many as 8192 × 8192: some hundred bytes can say that they are millions.
const MOST_PIXELS: u64 = 1 << 26;
/// What decoding an image may take besides, in bytes: eight bytes a pixel are the widest there are.
const MOST_BYTES: u64 = 8 * MOST_PIXELS + (64 << 20);

/// The first two bytes of a JPEG file.
const JPEG_START: [u8; 2] = [0xff, 0xd8];

/// Decodes the JPEG or PNG file `path` to `[channels, height, width]`: 3 channels are red, green and blue, 1 is luma
/// (Rec. 709). Returns the pixels channels last, row by row.
///
/// The region that `region` names of an image of a height and width is cut out and resized ([`resize`]). Where it names
/// none, an image of another size is resized, the aspect ratio kept, until it covers `height` × `width`; of that the
/// middle is cut out. For a square that is: the shorter side becomes the size. An alpha channel is dropped, and an
/// orientation in the metadata is not followed.
///
/// # Errors
/// Where the file cannot be read or is damaged or truncated, or the image is too large.
pub(super) fn read(
    path: &Path,
    shape: [usize; 3],
    region: impl FnOnce([usize; 2]) -> Option<Region>,
) -> Result<Vec<u8>> {
    let unreadable = |error: std::io::Error| {
        Error::io("read the image", path, &error)
            .help("the images must stay where they are for as long as the run takes")
    };
    let length = fs::metadata(path).map_err(unreadable)?.len();
    memory::ensure("the file", Some(length)).map_err(|error| error.in_file(path))?;
    let bytes = files::read(path).map_err(unreadable)?;
    decode(&bytes, shape, region).map_err(|error| {
        error.in_file(path).help("replace the image, or take it out of the data and begin the run anew")
    })
}

fn decode(
    bytes: &[u8],
    [channels, height, width]: [usize; 3],
    region: impl FnOnce([usize; 2]) -> Option<Region>,
) -> Result<Vec<u8>> {
    // Decoders of JPEG fill what is missing with grey.
    if bytes.starts_with(&JPEG_START) && !ends_as_jpeg(bytes) {
        return Err(Error::format("the image is truncated: a JPEG file has an end marker, and there is none"));
    }
    let damaged = |error: &dyn Display| Error::format(format!("the image cannot be decoded as JPEG or PNG: {error}"));
    let reader = || ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| damaged(&error));
    let (w, h) = reader()?.into_dimensions().map_err(|error| damaged(&error))?;
    check_pixels(u64::from(w), u64::from(h), "the image has")?;
    let mut reader = reader()?;
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| damaged(&error))?;
    // Fewer channels first: what is resized is what is needed.
    let (w, h) = image.dimensions();
    let (size, wanted) = ([h as usize, w as usize], [height, width]);
    let pixels = if channels == 1 { image.into_luma8().into_raw() } else { image.into_rgb8().into_raw() };
    match region(size) {
        Some(region) => resize(&pixels, channels, size, &region, wanted),
        None => cover(pixels, channels, size, wanted),
    }
}

/// Checks that an image is not too large to be held; `what` completes "… width × height pixels".
pub(super) fn check_pixels(width: u64, height: u64, what: &str) -> Result<()> {
    if width.saturating_mul(height) <= MOST_PIXELS {
        return Ok(());
    }
    Err(Error::input(format!("{what} {width} × {height} pixels; expected at most {MOST_PIXELS} in all")))
}

/// Whether a JPEG file has the marker that ends the image (ITU T.81, annex B: markers, their segments, compressed data
/// behind SOS). True too where the structure is another one: the decoder says more of that.
fn ends_as_jpeg(bytes: &[u8]) -> bool {
    const SOS: u8 = 0xda;
    const EOI: u8 = 0xd9;
    let mut at = JPEG_START.len();
    loop {
        let marker = match bytes.get(at..at + 2) {
            None => return false,
            Some(&[0xff, 0xff]) => {
                at += 1;
                continue;
            }
            Some(&[0xff, marker]) => marker,
            Some(_) => return true,
        };
        at += 2;
        if marker == EOI {
            return true;
        }
        let Some(&[high, low]) = bytes.get(at..at + 2) else { return false };
        at += usize::from(u16::from_be_bytes([high, low]));
        if marker == SOS {
            // In compressed data 0xff is followed by 0, or by the number of a restart marker.
            let rest = bytes.get(at..).unwrap_or_default();
            match rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7)) {
                Some(next) => at += next,
                None => return false,
            }
        }
    }
}

/// The middle of an image that is resized so that it just covers the size `wanted`. The longer side is rounded down, as
/// torchvision does.
fn cover(pixels: Vec<u8>, channels: usize, size: [usize; 2], wanted: [usize; 2]) -> Result<Vec<u8>> {
    let [h, w] = sides(size)?.map(u64::from);
    let [height, width] = sides(wanted)?.map(u64::from);
    // w / h against width / height
    let covering = if w * height > width * h {
        [height, (w * height / h).max(width)]
    } else {
        [(h * width / w).max(height), width]
    };
    // A line of pixels has one side that grows as the other does.
    check_pixels(covering[1], covering[0], "resized, the image would have")?;
    let covering = covering.map(|side| side as usize);
    let whole = Region { rows: 0..size[0], columns: 0..size[1] };
    let pixels = if covering == size { pixels } else { resize(&pixels, channels, size, &whole, covering)? };
    let [row, row_kept] = [covering[1], wanted[1]].map(|columns| columns * channels);
    let (top, left) = ((covering[0] - wanted[0]) / 2, (covering[1] - wanted[1]) / 2 * channels);
    Ok(pixels.chunks_exact(row).skip(top).take(wanted[0]).flat_map(|row| &row[left..][..row_kept]).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ExtendedColorType, ImageEncoder, codecs};

    /// Two rows of three pixels.
    const PIXELS: [u8; 18] = [255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30, 40, 50, 60, 255, 255, 255];

    fn whole(_: [usize; 2]) -> Option<Region> {
        None
    }

    fn png(pixels: &[u8], width: u32, height: u32, color: ExtendedColorType) -> Vec<u8> {
        let mut bytes = Vec::new();
        codecs::png::PngEncoder::new(&mut bytes).write_image(pixels, width, height, color).unwrap();
        bytes
    }

    fn jpeg(pixels: &[u8], width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let encoder = codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
        encoder.write_image(pixels, width, height, ExtendedColorType::Rgb8).unwrap();
        bytes
    }

    #[test]
    fn a_png_of_the_right_size_is_taken_as_it_is() {
        let bytes = png(&PIXELS, 3, 2, ExtendedColorType::Rgb8);
        assert_eq!(decode(&bytes, [3, 2, 3], whole).unwrap(), PIXELS);
        assert_eq!(decode(&bytes, [3, 2, 1], whole).unwrap(), [0, 255, 0, 40, 50, 60]);
        // 0.2126, 0.7152 and 0.0722 of 255
        assert_eq!(decode(&bytes, [1, 2, 3], whole).unwrap()[..3], [54, 182, 18]);
        let with_alpha = png(&[1, 2, 3, 0], 1, 1, ExtendedColorType::Rgba8);
        assert_eq!(decode(&with_alpha, [3, 1, 1], whole).unwrap(), [1, 2, 3]);
        let grey = png(&[7], 1, 1, ExtendedColorType::L8);
        assert_eq!(decode(&grey, [3, 1, 1], whole).unwrap(), [7, 7, 7]);
    }

    #[test]
    fn a_jpeg_is_about_what_was_written() {
        let red: Vec<u8> = [200, 30, 60].repeat(64);
        let decoded = decode(&jpeg(&red, 8, 8), [3, 8, 8], whole).unwrap();
        assert!(decoded.iter().zip(&red).all(|(a, b)| a.abs_diff(*b) <= 3), "{:?}", &decoded[..3]);
    }

    #[test]
    fn every_truncation_is_an_error() {
        /// What a PNG file ends with behind its last pixel: the checksum of the end marker.
        const PNG_CHECKSUM: usize = 4;
        let noise: Vec<u8> = (0..16 * 16 * 3u32).map(|i| (i * i % 251) as u8).collect();
        for (bytes, rest) in [(png(&noise, 16, 16, ExtendedColorType::Rgb8), PNG_CHECKSUM), (jpeg(&noise, 16, 16), 0)] {
            for length in 0..bytes.len() - rest {
                assert!(decode(&bytes[..length], [3, 16, 16], whole).is_err(), "{length} of {} bytes", bytes.len());
            }
            // What comes after the image is not looked at.
            decode(&[bytes.as_slice(), &[0; 3]].concat(), [3, 16, 16], whole).unwrap();
        }
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let error = read(&path, [3, 8, 8], whole).unwrap_err();
        assert!(error.to_string().contains("a.png: cannot read the image"), "{error}");
        fs::write(&path, "no image").unwrap();
        let error = read(&path, [3, 8, 8], whole).unwrap_err();
        assert!(error.to_string().contains("a.png: the image cannot be decoded as JPEG or PNG"), "{error}");
        assert!(error.help_text().unwrap().contains("replace"));
    }

    /// One case of `tests/fixtures/images/resize.json`.
    #[derive(serde::Deserialize)]
    struct Case {
        from: [u32; 2],
        to: [usize; 2],
        channels: usize,
        /// Top, left, height and width of what is cut out and resized, in place of the whole.
        region: Option<[usize; 4]>,
        pixels: Vec<u8>,
        expected: Vec<u8>,
    }

    #[test]
    fn resizes_and_crops_as_pillow_does() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../../tests/fixtures/images/resize.json")).unwrap();
        assert!(cases.len() >= 16);
        for Case { from: [height, width], to, channels, region, pixels, expected } in cases {
            let color = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
            let cut = |[top, left, rows, columns]: [usize; 4]| Region {
                rows: top..top + rows,
                columns: left..left + columns,
            };
            let decoded = decode(&png(&pixels, width, height, color), [channels, to[0], to[1]], |size| {
                assert_eq!(size, [height as usize, width as usize]);
                region.map(cut)
            });
            let found = decoded.unwrap();
            let worst = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
            assert_eq!(found.len(), expected.len());
            assert!(worst <= Some(1), "{height} × {width}, {region:?}, to {to:?}: off by {worst:?}");
        }
    }

    /// An image of one pixel that says that it is of another size.
    fn claiming(mut bytes: Vec<u8>, width: u32, height: u32) -> Vec<u8> {
        if bytes.starts_with(&JPEG_START) {
            // Of the frame: the marker, its length, the bits, then both sides (ITU T.81, B.2.2).
            let at = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap() + 5;
            bytes[at..at + 2].copy_from_slice(&(height as u16).to_be_bytes());
            bytes[at + 2..at + 4].copy_from_slice(&(width as u16).to_be_bytes());
        } else {
            bytes[16..20].copy_from_slice(&width.to_be_bytes());
            bytes[20..24].copy_from_slice(&height.to_be_bytes());
            let sum = crc32fast::hash(&bytes[12..29]).to_be_bytes();
            bytes[29..33].copy_from_slice(&sum);
        }
        bytes
    }

    #[test]
    fn an_image_of_too_many_pixels_is_not_decoded() {
        let message = |bytes: &[u8], shape| decode(bytes, shape, whole).unwrap_err().to_string();
        for bytes in [png(&[1, 2, 3], 1, 1, ExtendedColorType::Rgb8), jpeg(&[1, 2, 3], 1, 1)] {
            assert_eq!(
                message(&claiming(bytes, 60_000, 50_000), [3, 8, 8]),
                "the image has 60000 × 50000 pixels; expected at most 67108864 in all"
            );
        }
        let line = png(&[0; 6000], 2000, 1, ExtendedColorType::Rgb8);
        assert!(
            message(&line, [3, 1000, 1000]).starts_with("resized, the image would have 2000000 × 1000 pixels;"),
            "{}",
            message(&line, [3, 1000, 1000])
        );
        assert!(decode(&line, [3, 10, 10], whole).is_ok());
    }
}
