//! A page as Chromium shows it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// A page that was loaded in a fresh browser without a network, its scripts run.
pub struct Page {
    /// The document as it is then.
    pub dom: String,
    /// What the browser wrote to its console.
    pub console: Vec<String>,
    /// The addresses that the page asked the network for.
    pub requests: Vec<String>,
}

impl Page {
    #[track_caller]
    pub fn load(file: &Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let log = profile.path().join("network.json");
        let option = |name: &str, value: &Path| {
            let mut option = OsString::from(name);
            option.push(value);
            option
        };
        let output = Command::new(chromium().expect("a test that needs a browser asks for one"))
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
            .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--dump-dom"])
            .arg(option("--user-data-dir=", &profile.path().join("profile")))
            .arg(option("--log-net-log=", &log))
            .arg(option("file://", file))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the browser failed: {said}");
        Self {
            dom: String::from_utf8(output.stdout).unwrap(),
            console: said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect(),
            requests: requests(&fs::read_to_string(log).unwrap()),
        }
    }

    #[track_caller]
    pub fn assert_self_contained(&self) {
        assert_eq!(self.console, [""; 0]);
        assert_eq!(self.requests, [""; 0]);
    }

    /// The points of the curve `name`, as it is written in the document, in the chart `title`.
    #[track_caller]
    pub fn curve(&self, title: &str, name: &str) -> Vec<(f64, f64)> {
        let after = |text: &str, mark: &str| {
            let found = text.split_once(mark).unwrap_or_else(|| panic!("`{mark}` is not in the page"));
            found.1.to_owned()
        };
        let chart = after(&self.dom, &format!("aria-label=\"{title}\""));
        let chart = chart.split("</svg>").next().unwrap();
        let points = after(&after(chart, &format!("data-name=\"{name}\"")), "data-points=\"");
        let pairs = points.split('"').next().unwrap().split(' ');
        pairs.map(|pair| pair.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).unwrap()).collect()
    }
}

/// What a page asked for, by the browser's network log. The browser's own requests have no origin that started them.
fn requests(log: &str) -> Vec<String> {
    let log: serde_json::Value = serde_json::from_str(log).unwrap();
    let requests = log["events"].as_array().unwrap().iter().map(|event| &event["params"]);
    let of_pages = requests.filter(|request| request["initiator"].as_str().is_some_and(|from| from != "not an origin"));
    of_pages.map(|request| request["url"].as_str().unwrap().to_owned()).collect()
}

/// The browser in the path.
pub fn chromium() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut places = env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    places.find(|place| place.is_file())
}
