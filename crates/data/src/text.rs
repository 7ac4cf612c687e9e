//! Text as numbers: what a model's tokenizer makes of it.

use crate::{Input, Lists, Values};
use gnp_base::caught::caught;
use gnp_base::{Error, Result, files};
use std::fmt;
use std::path::{Path, PathBuf};
use tokenizers::{EncodeInput, PostProcessor, TruncationParams};

/// The input of token ids, as Hugging Face's models name it.
const IDS: &str = "input_ids";
/// The input that tells the first text of a pair from the second.
const SEGMENTS: &str = "token_type_ids";
/// How many texts are encoded at a time: their tokens' texts and places, which are not kept, take memory.
const AT_A_TIME: usize = 10_000;

/// The tokenizer of a model, from a `tokenizer.json` (Hugging Face `tokenizers`).
pub(crate) struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
    /// What a shorter text is filled up with.
    pad: f64,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tokenizer").field(&self.path).finish()
    }
}

impl Tokenizer {
    /// Reads the tokenizer at `path`, which cuts texts to `most` tokens, special ones among them.
    ///
    /// # Errors
    /// Where the file cannot be read or is none, or `most` leaves no room for a text.
    pub(crate) fn open(path: &Path, most: Option<usize>) -> Result<Self> {
        let bytes = files::read(path).map_err(|error| Error::io("read the tokenizer", path, &error))?;
        let unreadable = |error: &dyn fmt::Display| {
            Error::format(format!("not a tokenizer that can be read: {error}"))
                .in_file(path)
                .help("give the `tokenizer.json` that lies beside the model")
        };
        // The library panics on some that are none.
        let read = caught(|| tokenizers::Tokenizer::from_bytes(bytes)).map_err(|panic| unreadable(&panic))?;
        let mut inner = read.map_err(|error| unreadable(&error))?;
        // Texts are filled up when a batch is made of them, to its length.
        let padding = inner.with_padding(None).get_padding().map(|padding| padding.pad_id);
        let names = ["[PAD]", "<pad>", "<|endoftext|>", "</s>"];
        let pad = padding.or_else(|| names.iter().find_map(|name| inner.token_to_id(name))).unwrap_or(0);
        if let Some(most) = most {
            // Those that a pair of texts is given: it has the most.
            let special = inner.get_post_processor().map_or(0, |processor| processor.added_tokens(true));
            if most <= special {
                return Err(Error::input(format!("texts of {most} tokens have no words: {special} are special ones"))
                    .in_file(path)
                    .help("choose a larger --max-length"));
            }
        }
        let truncation = most.map(|most| TruncationParams { max_length: most, ..TruncationParams::default() });
        inner.with_truncation(truncation).map_err(|error| unreadable(&error))?;
        Ok(Self { path: path.to_owned(), inner, pad: pad.into() })
    }

    /// The token ids of each text, or of each pair of texts, as inputs of a model.
    ///
    /// # Errors
    /// Where one has no tokens.
    pub(crate) fn encode<'t>(
        &self,
        texts: impl ExactSizeIterator<Item = (&'t str, Option<&'t str>)>,
    ) -> Result<Vec<Input>> {
        let (mut ids, mut segments, mut lengths) = (Vec::new(), Vec::new(), Vec::with_capacity(texts.len()));
        let mut texts = texts.peekable();
        while texts.peek().is_some() {
            let some: Vec<EncodeInput<'_>> = texts
                .by_ref()
                .take(AT_A_TIME)
                .map(|(text, pair)| pair.map_or_else(|| text.into(), |pair| (text, pair).into()))
                .collect();
            let refused =
                |error: &dyn fmt::Display| Error::input(format!("a text has no tokens: {error}")).in_file(&self.path);
            let encoded = caught(|| self.inner.encode_batch_fast(some, true)).map_err(|panic| refused(&panic))?;
            let encoded = encoded.map_err(|error| refused(&error))?;
            for encoding in &encoded {
                lengths.push(encoding.len());
                ids.extend(encoding.get_ids().iter().copied().map(i64::from));
                segments.extend(encoding.get_type_ids().iter().copied().map(i64::from));
            }
        }
        let has_segments = segments.iter().any(|&segment| segment != 0);
        let input = |name: &str, values: Vec<i64>, pad: f64| {
            let lists = Lists::new(Values::I64(values), &lengths, vec![])?;
            lists.check("the text").map_err(|error| error.help("leave rows without text out"))?;
            Ok(Input { pad, ..Input::new(name, lists) })
        };
        let mut inputs = vec![input(IDS, ids, self.pad)?];
        if has_segments {
            inputs.push(input(SEGMENTS, segments, 0.0)?);
        }
        Ok(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Samples;

    /// A tokenizer of words, with a text between `[CLS]` and `[SEP]`.
    const WORDS: &str = include_str!("../../../tests/fixtures/tables/tokenizer.json");

    fn tokenizer(text: &str, most: Option<usize>) -> Result<Tokenizer> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, text).unwrap();
        Tokenizer::open(&path, most)
    }

    fn lists(input: &Input) -> (Vec<i64>, Vec<usize>) {
        let Samples::Lists(lists) = &input.samples else { panic!("no lists") };
        let Values::I64(values) = lists.values() else { panic!("no integers") };
        (values.clone(), (0..lists.len()).map(|row| lists.length(row)).collect())
    }

    #[test]
    fn texts_become_ids_and_are_cut() {
        let texts = || [("Good film", None), ("bad", None)].into_iter();
        let inputs = tokenizer(WORDS, None).unwrap().encode(texts()).unwrap();
        assert_eq!((inputs.len(), inputs[0].name.as_deref(), inputs[0].pad), (1, Some("input_ids"), 9.0));
        assert_eq!(lists(&inputs[0]), (vec![1, 3, 5, 2, 1, 4, 2], vec![4, 3]));
        let texts = [("Good film Good film", None), ("bad", None)].into_iter();
        let cut = tokenizer(WORDS, Some(4)).unwrap().encode(texts).unwrap();
        assert_eq!(lists(&cut[0]), (vec![1, 3, 5, 2, 1, 4, 2], vec![4, 3]));
    }

    #[test]
    fn a_pair_has_segments() {
        let inputs = tokenizer(WORDS, None).unwrap().encode([("good", Some("bad film"))].into_iter()).unwrap();
        assert_eq!(lists(&inputs[0]).0, [1, 3, 2, 4, 5, 2]);
        assert_eq!((inputs[1].name.as_deref(), lists(&inputs[1]).0), (Some("token_type_ids"), vec![0, 0, 0, 1, 1, 1]));
    }

    #[test]
    fn what_is_no_tokenizer_is_refused() {
        let error = tokenizer("{}", None).unwrap_err();
        assert!(error.to_string().contains("tokenizer.json: not a tokenizer that can be read"), "{error}");
        let error = tokenizer(WORDS, Some(3)).unwrap_err().to_string();
        assert!(error.ends_with("texts of 3 tokens have no words: 3 are special ones"), "{error}");
    }
}
