//! A data directory on a disk that is full: each verb says so in a line, with what helps, and ends with 11; what was there
//! stays, and once there is room everything works.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::program::TestResult;

/// A file system of 24 MB in a namespace of its own, which ends with the script. `$1` is where, `$2` is `nonos`.
const BEFORE: &str = "
mount -t tmpfs -o size=24m none \"$1\" || exit 77
ask() { name=$1; shift; echo \"== $name\"; timeout 20 \"$@\" 2>&1; echo \"=> $?\"; }
where=$1; program=$2
\"$program\" --data-dir \"$where/node\" init >/dev/null || exit 1
head -c 60000 /dev/urandom > \"$where/value\"
dd if=/dev/zero of=\"$where/filler\" bs=64k 2>/dev/null
";

/// Verbs on the full disk, and how they end.
const VERBS: [(&str, i32); 9] = [
    ("node secrets put x --from $where/value", 11),
    ("node status", 0),
    ("node verify", 0),
    ("node doctor", 7),
    ("node backup create", 11),
    ("node compact", 11),
    ("node export --as ndjson $where/out", 11),
    ("other init", 11),
    ("node run --listen 127.0.0.1:0", 11),
];

/// With room again.
const AFTER: [(&str, i32); 4] = [
    ("node secrets put x --from $where/value", 0),
    ("node secrets list", 0),
    ("node compact", 0),
    ("node verify --deep", 0),
];

/// A line of the script that runs a verb and says how it ended.
fn asked((line, _): &(&str, i32)) -> String {
    format!(
        "ask '{line}' sh -c 'where=$1; program=$2; set -- {line}; node=$1; shift\n\
         exec \"$program\" --data-dir \"$where/$node\" --color never \"$@\"' sh \"$where\" \"$program\"\n"
    )
}

#[test]
fn a_full_disk_is_said_and_takes_nothing_away() -> TestResult {
    let scratch = tempfile::tempdir()?;
    let script = [
        BEFORE.to_owned(),
        VERBS.iter().map(asked).collect(),
        "rm \"$where/filler\"\n".to_owned(),
        AFTER.iter().map(asked).collect(),
    ]
    .concat();
    let output = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            &script,
            "sh",
        ])
        .arg(scratch.path())
        .arg(env!("CARGO_BIN_EXE_nonos"))
        .env_remove("NONOS_DATA_DIR")
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) if output.status.code() != Some(77) && !output.stdout.is_empty() => output,
        refused => {
            // There is nobody to tell that standard error does not take it.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: no file system can be mounted here: {refused:?}"
            );
            return Ok(());
        }
    };
    let told = String::from_utf8(output.stdout)?;
    let mut asked = told.split("== ").skip(1);
    for (line, code) in VERBS.iter().chain(&AFTER) {
        let said = asked.next().ok_or("a verb is missing")?;
        assert!(said.starts_with(line), "{line}: {said}");
        assert!(
            said.trim_end().ends_with(&format!("=> {code}")),
            "{line}: {said}"
        );
        if *code == 11 {
            let errors: Vec<&str> = said
                .lines()
                .filter(|line| line.starts_with("error: "))
                .collect();
            assert_eq!(errors.len(), 1, "{line}: {said}");
            // By the system, or before it: what is kept free is not taken.
            let is_told =
                said.contains("No space left") || said.contains("keep the free-space reserve");
            let is_told = is_told && said.contains("help: free disk space");
            assert!(is_told, "{line}: {said}");
        }
    }
    Ok(())
}
