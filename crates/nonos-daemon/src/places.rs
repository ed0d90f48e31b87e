//! Where a node keeps its files: its data directory, its `config.toml`, and what that names.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nonos_daemon::settings::{Settings, SettingsError, documented, parse};

use crate::args::Args;
use crate::error::CliError;

/// Where a node keeps its files.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) data_dir: PathBuf,
    pub(crate) config: PathBuf,
    /// Whether the file was named, so that it must exist.
    named: bool,
}

impl Places {
    /// Where a node keeps its files that has a copy of this configuration.
    pub(crate) fn of_copy(&self, data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            ..self.clone()
        }
    }

    pub(crate) fn of(args: &Args) -> Result<Self, SettingsError> {
        let data_dir = expand_home(&args.data_dir)?;
        let config = match &args.config {
            Some(config) => expand_home(config)?,
            None => data_dir.join("config.toml"),
        };
        Ok(Self {
            data_dir,
            config,
            named: args.config.is_some(),
        })
    }

    /// Reads the settings; a file that is not there says nothing, unless it was named.
    pub(crate) fn load(&self) -> Result<Settings, SettingsError> {
        let text = match fs::read_to_string(&self.config) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.named => String::new(),
            Err(source) => {
                let path = self.config.clone();
                return Err(SettingsError::Read { path, source });
            }
        };
        let mut settings = parse(&text, &self.config)?;
        let path = &mut settings.storage.path;
        *path = self.data_dir.join(expand_home(path)?);
        let secrets = &mut settings.secrets;
        secrets.key_file = self.data_dir.join(expand_home(&secrets.key_file)?);
        if !secrets.anchor_file.as_os_str().is_empty() {
            secrets.anchor_file = self.data_dir.join(expand_home(&secrets.anchor_file)?);
        }
        let server = &mut settings.server;
        if !server.token_file.as_os_str().is_empty() {
            server.token_file = self.data_dir.join(expand_home(&server.token_file)?);
        }
        Ok(settings)
    }

    /// Makes the data directory and the documented file, where they are missing; returns whether
    /// the file was. It says that secrets are sealed, if they are to be.
    pub(crate) fn create(&self, is_sealed: bool) -> Result<bool, CliError> {
        let io = |action, path: &Path, source| CliError::Io {
            action,
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.data_dir)
            .map_err(|e| io("create", &self.data_dir, e))?;
        if self.named || self.config.exists() {
            return Ok(false);
        }
        // Beside it first: a power cut leaves no half of a file under the real name.
        let new = self.config.with_extension("toml.new");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| {
                file.write_all(documented(is_sealed).as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, &self.config))
            .and_then(|()| File::open(&self.data_dir)?.sync_all());
        written.map_err(|e| io("write", &self.config, e))?;
        Ok(true)
    }
}

pub(crate) fn expand_home(path: &Path) -> Result<PathBuf, SettingsError> {
    let Ok(below_home) = path.strip_prefix("~") else {
        return Ok(path.to_owned());
    };
    match std::env::home_dir().filter(|home| !home.as_os_str().is_empty()) {
        Some(home) => Ok(home.join(below_home)),
        None => Err(SettingsError::NoHome {
            path: path.to_owned(),
        }),
    }
}
