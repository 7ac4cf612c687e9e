//! Several inputs and outputs, and text.

use super::Follow::{AsSaid, Instead, With, Without};
use super::{Row, row};

/// A training that succeeds with the text, or the columns, that `more` names.
macro_rules! of_text {
    ($data:literal, $more:literal) => {
        concat!(
            "gnp-run sentences.onnx --epochs 1 --engine tract --out out --loss logits=cross-entropy --data ",
            $data,
            " ",
            $more
        )
    };
}

pub(super) fn rows() -> Vec<Row> {
    let tokenized = || vec![With("--text", "review"), With("--tokenizer", "tokenizer.json")];
    vec![
        row(
            "gnp-rewrite sentences.onnx -o s.onnx --loss logits=cross-entropy --logits logits",
            "the output of a loss is named twice",
            "leave --logits out",
            vec![Without("--logits")],
        ),
        row(
            "gnp-rewrite sentences.onnx -o s.onnx --loss logits=cross-entropy --loss mse",
            "each needs an output",
            "--loss box=huber*0.5",
            vec![Instead("gnp-rewrite sentences.onnx -o s.onnx --loss logits=cross-entropy --loss score=huber*0.5")],
        ),
        row(
            of_text!("texts.csv", "--target kind"),
            "no column besides the target is numeric",
            "--text COLUMN --tokenizer tokenizer.json",
            tokenized(),
        ),
        row(
            of_text!("words.csv", "--target kind"),
            "but the data are floats",
            "or --text COLUMN with the model's --tokenizer",
            tokenized(),
        ),
        row(
            of_text!("words.csv", "--target kind --text review --tokenizer tokenizer.json --max-length 2"),
            "texts of 2 tokens have no words",
            "a larger --max-length",
            vec![With("--max-length", "8")],
        ),
        row(
            of_text!("words.csv", "--target kind --text review --tokenizer tokenizer.json --dim length=4"),
            "and sample",
            "--max-length 4",
            vec![AsSaid("--max-length")],
        ),
        row(
            of_text!("words.csv", "--target kind --text review,word,stars --tokenizer tokenizer.json"),
            "3 columns of text are named",
            "name one with --text",
            vec![With("--text", "review")],
        ),
        row(
            of_text!("words.csv", "--target kind --feature attention_mask=word --feature age=stars"),
            "there are no data for input `input_ids`",
            "--feature input_ids=COLUMN",
            vec![With("--feature", "input_ids=word")],
        ),
        row(
            of_text!("words.csv", "--target kind --text review --tokenizer tokenizer.json --loss score=mse"),
            "there are no labels for output `logits`",
            "--target logits=COLUMN",
            vec![With("--target", "logits=kind,score=stars")],
        ),
        row(
            "gnp-run placed.onnx --epochs 1 --engine tract --out out --force --loss logits=cross-entropy --data long.jsonl \
             --target kind --feature input_ids=ids --batch-size 2",
            "the first batch is no trouble",
            "--max-length",
            vec![With("--max-length", "8")],
        ),
        row(
            of_text!("lists.jsonl", "--target kind"),
            "column `ids` holds lists",
            "--feature INPUT=ids",
            vec![With("--feature", "input_ids=ids")],
        ),
        row(
            run!("--features a"),
            "only a table",
            "--feature INPUT=ARRAY",
            vec![Without("--features"), With("--feature", "x=x")],
        ),
    ]
}
