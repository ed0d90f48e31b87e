//! `nonos clone`: a copy of a node, made beside its new place and put there whole.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use nonos_storage::{NodeStorage, StorageConfig};
use serde::Serialize;

use crate::args::Args;
use crate::cmd;
use crate::cmd::restore::{verify, with_ending};
use crate::error::CliError;
use crate::output::Report;
use crate::places::{Places, expand_home};
use crate::progress;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Cloned {
    data_dir: PathBuf,
    commit: u64,
    entries: u64,
    /// What was copied beside the database.
    files: Vec<PathBuf>,
}

pub(crate) fn clone(args: &Args, to: &Path) -> Result<(), CliError> {
    let report = Report::start("nonos.clone/1", args.output);
    report.finish(make(args, to), |done| {
        format!(
            "{} records at commit {} are in {}, verified; if this node is to run no more, start the \
             copy with `nonos --data-dir {} run --same-node`, otherwise with --new-identity",
            done.entries,
            done.commit,
            done.data_dir.display(),
            done.data_dir.display()
        )
    })
}

fn make(args: &Args, to: &Path) -> Result<Cloned, CliError> {
    let places = Places::of(args)?;
    let settings = places.load()?;
    let to = expand_home(to)?;
    if to.exists() {
        return Err(CliError::Exists { path: to });
    }
    let path = settings.storage.path.clone();
    if !places
        .of_copy(to.clone())
        .load()?
        .storage
        .path
        .starts_with(&to)
    {
        return Err(CliError::Outside { path });
    }
    // The copy of the configuration must not lead back here.
    let inside = |path: &Path| match path.strip_prefix(&places.data_dir) {
        Ok(relative)
            if relative
                .components()
                .all(|c| matches!(c, Component::Normal(_))) =>
        {
            Ok(relative.to_owned())
        }
        _ => Err(CliError::Outside {
            path: path.to_owned(),
        }),
    };
    let database = inside(&path)?;
    let mut beside = Vec::new();
    let mut files = vec![&places.config];
    if cfg!(feature = "encrypted-storage") {
        files.extend([&settings.secrets.key_file, &settings.secrets.anchor_file]);
    }
    let identity = places.data_dir.join(&settings.backup.identity_file);
    if !settings.backup.identity_file.has_root() {
        // One elsewhere is read by both.
        files.push(&identity);
    }
    for file in files.into_iter().filter(|file| file.is_file()) {
        beside.push((file.clone(), inside(file)?));
    }
    #[cfg(feature = "encrypted-storage")]
    if let Some(path) =
        Some(with_ending(&settings.secrets.key_file, ".next")).filter(|p| p.exists())
    {
        return Err(CliError::Rotating { path });
    }
    let new = with_ending(&to, ".new");
    let io = |path: &Path, source| CliError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    };
    match fs::remove_dir_all(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(&new, e)),
        _ => {}
    }
    make_directory(&new).map_err(|e| io(&new, e))?;
    let cloned = || {
        // The anchor is older than the database that it is to be below.
        for (from, name) in &beside {
            let copy = new.join(name);
            copy_file(from, &copy).map_err(|e| io(&copy, e))?;
        }
        let storage = cmd::long_view(args, &settings)?;
        let file = new.join("clone.nonos");
        storage.export_backup(&file)?;
        let config = StorageConfig {
            path: new.join(&database),
            ..settings.storage.clone()
        };
        let restored =
            NodeStorage::restore_backup_with(&file, progress::cancellable(args, config.clone())?)?;
        fs::remove_file(&file).map_err(|e| io(&file, e))?;
        verify(args, &config)?;
        let parent = to.parent().filter(|p| !p.as_os_str().is_empty());
        let sync = |path: &Path| File::open(path)?.sync_all();
        sync(&new)
            .and_then(|()| fs::rename(&new, &to))
            .and_then(|()| sync(parent.unwrap_or(Path::new("."))))
            .map_err(|e| io(&to, e))?;
        Ok(restored)
    };
    match cloned() {
        Ok(restored) => Ok(Cloned {
            data_dir: to,
            commit: restored.commit,
            entries: restored.entries,
            files: beside.into_iter().map(|(_, name)| name).collect(),
        }),
        Err(error) => {
            // The error is what must be told; what is left has the ending of what is not whole.
            let _removed = fs::remove_dir_all(&new);
            Err(error)
        }
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Copies a file with its mode, durably.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(directory) = to.parent() {
        make_directory(directory)?;
    }
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}
