//! What is counted of a batch: what its loss weighs in a mean, and which labels are wrong.

/// The counts of one batch, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// The samples.
    pub samples: usize,
    /// What the mean over the batch that its loss is weighs: the labels that count, the sum of the weights of their
    /// classes where classes have such, and the samples where labels are neither right nor wrong.
    pub weight: f64,
    /// The labels that count.
    pub labels: f64,
    /// How many of them are wrong, where that is known.
    pub wrong: Option<f64>,
    /// How many of them are of a class that is not among the five largest logits, where there are six classes or more.
    pub beyond_top5: Option<f64>,
}

impl Counts {
    /// Adds those of another batch of the same graph.
    pub fn add(&mut self, other: &Self) {
        let sum = |a: Option<f64>, b: Option<f64>| a.map_or(b, |a| Some(a + b.unwrap_or(0.0)));
        self.samples += other.samples;
        self.weight += other.weight;
        self.labels += other.labels;
        self.wrong = sum(self.wrong, other.wrong);
        self.beyond_top5 = sum(self.beyond_top5, other.beyond_top5);
    }

    /// The fraction of the labels that are wrong.
    pub fn error(&self) -> Option<f64> {
        self.wrong.filter(|_| self.labels > 0.0).map(|wrong| wrong / self.labels)
    }

    /// The fraction of the labels that are not among the five largest logits.
    pub fn top5_error(&self) -> Option<f64> {
        self.beyond_top5.filter(|_| self.labels > 0.0).map(|beyond| beyond / self.labels)
    }
}
