//! Where the time of a step went.

use crate::cli::table;
use crate::engine::{OperatorTime, Profile};
use indicatif::HumanCount;
use std::path::Path;

/// So many operators have a line of their own.
const LINES: usize = 12;

/// A table of the operators that take the most time in a step, and where the engine's own record is.
pub fn profile(profile: &Profile, trace: &Path) -> String {
    let mut table = table(["operator", "nodes", "ms", "share"]);
    let mut row = |name: String, nodes: String, seconds: f64| {
        let share = 100.0 * seconds / profile.seconds.max(f64::MIN_POSITIVE);
        table.add_row([name, nodes, format!("{:.2}", seconds * 1e3), format!("{share:.1} %")]);
    };
    let count = |nodes: f64| HumanCount(nodes.round() as u64).to_string();
    let (first, rest) = profile.operators.split_at(profile.operators.len().min(LINES));
    for OperatorTime { operator, nodes, seconds } in first {
        row(operator.clone(), count(*nodes), *seconds);
    }
    if !rest.is_empty() {
        let sum = |of: fn(&OperatorTime) -> f64| rest.iter().map(of).sum::<f64>();
        row(format!("{} others", rest.len()), count(sum(|o| o.nodes)), sum(|o| o.seconds));
    }
    row("between operators".to_owned(), String::new(), profile.between());
    row("a step".to_owned(), count(profile.nodes()), profile.seconds);
    let steps = match profile.steps {
        1 => "one step".to_owned(),
        steps => format!("the mean of {steps} steps"),
    };
    format!(
        "\nWhere the time of a step goes ({steps}):\n\n{table}\n\ngnp.… are gnp's kernels. Each node of each step: {} \
         (open it in ui.perfetto.dev)\n",
        trace.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_step_is_there() {
        let operator = |number: usize| OperatorTime {
            operator: format!("Operator{number}"),
            nodes: 100.0 * number as f64,
            seconds: 1e-3 * (20 - number) as f64,
        };
        let operators: Vec<_> = (1..=14).map(operator).collect();
        let text = profile(
            &Profile { steps: 7, seconds: 0.2, operators, trace: "elsewhere".into() },
            Path::new("runs/model/profile.json"),
        );
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines[1], "Where the time of a step goes (the mean of 7 steps):");
        assert_eq!(lines[3], " operator             nodes       ms     share");
        assert_eq!(lines[5], " Operator1              100    19.00     9.5 %");
        assert_eq!(lines[17], " 2 others             2,700    13.00     6.5 %");
        assert_eq!(lines[18], " between operators             25.00    12.5 %");
        assert_eq!(lines[19], " a step              10,500   200.00   100.0 %");
        assert!(lines[21].contains("runs/model/profile.json"));
    }
}
