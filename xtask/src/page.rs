//! The status page in a real browser: its numbers are those of `/api/v1/status`, its console is quiet, and it is
//! photographed at a phone's width and a desk's, light and dark, with a month of data.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::daemon::{self, Daemon};
use crate::{Error, failed, sample_node};

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// The names that the console gives what went wrong.
const WRONG: [&str; 4] = ["Uncaught", "ERROR:CONSOLE", "Refused to", "Failed to load"];

/// Looks at the page, and writes its pictures to docs/images.
pub(crate) fn run(root: &Path) -> Result<bool, Error> {
    let is_there = |name: &&str| {
        let mut asked = Command::new(name);
        asked
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        asked.status().is_ok_and(|status| status.success())
    };
    let Some(browser) = BROWSERS.into_iter().find(is_there) else {
        println!("skipped: there is no chromium");
        return Ok(true);
    };
    let scratch = tempfile::tempdir().map_err(failed)?;
    let daemon = served(root, scratch.path())?;
    let page = Page {
        browser,
        scratch: scratch.path(),
        daemon: &daemon,
    };
    let (compared, mut wrong) = page.compare()?;
    for (theme, width, height) in [
        ("light", 390, 3000),
        ("light", 1280, 1500),
        ("dark", 390, 3000),
        ("dark", 1280, 1500),
    ] {
        let file = root.join(format!("docs/images/status-{theme}-{width}.png"));
        let mut more = vec![
            "--hide-scrollbars".to_owned(),
            format!("--screenshot={}", file.display()),
        ];
        if theme == "dark" {
            more.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        if !page
            .open(&format!("{width},{height}"), &more)?
            .status
            .success()
        {
            wrong.push(format!("{} was not taken", file.display()));
        }
    }
    for line in &wrong {
        println!("{line}");
    }
    let faults = wrong.len();
    println!("{browser}: {compared} numbers compared, {faults} faults; pictures in docs/images");
    Ok(faults == 0 && compared >= 8)
}

/// A daemon with a month of data and a backup.
fn served(root: &Path, scratch: &Path) -> Result<Daemon, Error> {
    let nonos = daemon::build(root, "dev", &[])?;
    let node = scratch.join("node");
    let verb = |args: &[&str]| {
        let done = Command::new(&nonos)
            .arg("-d")
            .arg(&node)
            .args(args)
            .output()
            .map_err(failed)?;
        if done.status.success() {
            return Ok(());
        }
        Err(failed(String::from_utf8_lossy(&done.stderr)))
    };
    verb(&["init"])?;
    let config = "[storage]\nencryption_mode = \"sealed_box\"\n[metrics]\ninterval_secs = 86400\n\
                  [server]\nlisten = \"127.0.0.1:0\"\n";
    fs::write(node.join("config.toml"), config).map_err(failed)?;
    sample_node::run(node.to_str())?;
    verb(&["backup", "create"])?;
    let mut command = Command::new(&nonos);
    command.arg("-d").arg(&node).arg("-v");
    // The bytes of the trees are counted by then.
    let is_sampled = |log: &str| log.contains("\"message\":\"sample\"");
    Daemon::start(&mut command, &scratch.join("log"), is_sampled)
}

/// A page to be opened.
struct Page<'a> {
    browser: &'a str,
    scratch: &'a Path,
    daemon: &'a Daemon,
}

impl Page<'_> {
    /// Opens it, for as long as it takes to show everything.
    fn open(&self, size: &str, more: &[String]) -> Result<Output, Error> {
        let opened = Command::new(self.browser)
            .args(options(self.scratch, size))
            .arg("--virtual-time-budget=8000")
            .args(more)
            .arg(format!("http://{}/", self.daemon.address()))
            .output();
        opened.map_err(failed)
    }

    /// How many numbers of the status were looked for on the page, and what is wrong.
    fn compare(&self) -> Result<(usize, Vec<String>), Error> {
        let status = || {
            self.daemon
                .get("/api/v1/status")
                .ok_or_else(|| failed("no status"))
        };
        let before = numbers(&status()?);
        let more = ["--enable-logging=stderr", "--v=0", "--dump-dom"].map(str::to_owned);
        let looked = self.open("390,3000", &more)?;
        let after = numbers(&status()?);
        let dom = String::from_utf8_lossy(&looked.stdout);
        let console = String::from_utf8_lossy(&looked.stderr);
        let is_wrong = |line: &&str| WRONG.iter().any(|word| line.contains(word));
        let mut wrong: Vec<String> = console
            .lines()
            .filter(is_wrong)
            .map(str::to_owned)
            .collect();
        let shown = cells(&dom);
        let mut compared = 0;
        // What a read of the page itself moves is not compared.
        for (name, number) in before
            .iter()
            .filter(|(name, number)| after.get(*name) == Some(*number))
        {
            compared += 1;
            let on_page = shown.get(name);
            if on_page != Some(number) {
                wrong.push(format!(
                    "{name}: {number} in the status, {on_page:?} on the page"
                ));
            }
        }
        for chart in ["CPU", "Memory", "Sent", "Received", "Score", "Requests"] {
            if !dom.contains(&format!("aria-label=\"{chart}: ")) {
                wrong.push(format!("there is no chart of {chart}"));
            }
        }
        Ok((compared, wrong))
    }
}

fn options(scratch: &Path, size: &str) -> [String; 6] {
    [
        "--headless=new".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        "--no-first-run".to_owned(),
        format!("--user-data-dir={}", scratch.join("browser").display()),
        format!("--window-size={size}"),
    ]
}

/// Records of each tree, by the status.
fn numbers(status: &str) -> std::collections::BTreeMap<String, u64> {
    let trees = status.split("\"name\":\"").skip(1);
    let of = |tree: &str| {
        let name = tree.split('"').next()?.to_owned();
        let entries = tree.split_once("\"entries\":")?.1;
        let digits = entries.split(|c: char| !c.is_ascii_digit()).next()?;
        Some((name, digits.parse().ok()?))
    };
    trees.filter_map(of).collect()
}

/// Records of each tree, by the page.
fn cells(dom: &str) -> std::collections::BTreeMap<String, u64> {
    let of = |row: &str| {
        let mut cells = row
            .split("<td>")
            .skip(1)
            .map(|cell| cell.split('<').next().unwrap_or_default());
        let name = cells.next()?.to_owned();
        let digits: String = cells.next()?.chars().filter(char::is_ascii_digit).collect();
        Some((name, digits.parse().ok()?))
    };
    dom.split("<tr>").filter_map(of).collect()
}
