//! Running the program on a data directory of its own.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

#[cfg(feature = "encrypted-storage")]
use storage_testkit::logs::forbid;
use storage_testkit::logs::spelled_in;
use tempfile::TempDir;

pub(crate) type TestResult = Result<(), Box<dyn std::error::Error>>;

/// A data directory, removed at drop.
pub(crate) struct Node {
    dir: TempDir,
}

impl Node {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
        })
    }

    /// A path in the data directory, which the program itself has to make.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("node").join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nonos"));
        if !args.contains(&"--data-dir") {
            command.arg("--data-dir").arg(self.path(""));
        }
        command
            .env_remove("NONOS_DATA_DIR")
            .args(args)
            .stdin(Stdio::null());
        if args.first() == Some(&"run") && !args.contains(&"--listen") {
            // Other tests run daemons as well.
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command
    }

    /// What the program prints, with its whole log.
    pub(crate) fn output(&self, args: &[&str]) -> std::io::Result<Output> {
        let output = self.command(&[args, &["-vv"]].concat()).output()?;
        self.look(&output.stderr);
        Ok(output)
    }

    /// Nothing that is logged spells what a key file or a secret holds.
    #[cfg_attr(
        not(feature = "encrypted-storage"),
        expect(
            clippy::unused_self,
            reason = "without keys there are none to look for"
        )
    )]
    pub(crate) fn look(&self, logged: &[u8]) {
        #[cfg(feature = "encrypted-storage")]
        self.forbid_keys();
        let logged = String::from_utf8_lossy(logged);
        assert_eq!(spelled_in(&logged), None, "{logged}");
    }

    /// The keys in the data directory are looked for in what is logged from now on.
    #[cfg(feature = "encrypted-storage")]
    fn forbid_keys(&self) {
        let files = std::fs::read_dir(self.path("")).into_iter().flatten();
        for file in files.filter_map(Result::ok) {
            let Ok(text) = std::fs::read_to_string(file.path()) else {
                continue;
            };
            if let Ok((keys, _)) = nonos_daemon::key_text::read(&text, None)
                && let Some(secret) = keys.expose_secret()
            {
                forbid(secret);
            }
        }
    }

    /// The JSON that the verb prints, after a check of its exit code.
    pub(crate) fn json(
        &self,
        args: &[&str],
        exit_code: i32,
    ) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
        let output = self.output(args)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit_code), "{args:?}: {stderr}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        assert_eq!(json["exit_code"], exit_code, "{json}");
        assert_eq!(json["ok"], exit_code == 0, "{json}");
        Ok(json)
    }

    pub(crate) fn write_config(&self, text: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(self.path(""))?;
        std::fs::write(self.path("config.toml"), text)
    }
}
