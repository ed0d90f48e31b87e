//! `nonos init`: everything that `run` needs, without running.

use std::path::PathBuf;

use nonos_daemon::settings::Settings;
use serde::Serialize;

use crate::args::{Args, Verb};
use crate::cmd;
use crate::error::CliError;
use crate::output::{Report, push_line};
use crate::places::Places;

/// What the maker of a key must know.
pub(crate) const LOSING_IT: &str = "\
who loses this key loses every secret of this node, and nobody can recover them:
keep a copy elsewhere, as `nonos secrets key protect FILE` writes one";

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Made {
    data_dir: PathBuf,
    config: PathBuf,
    config_written: bool,
    database: PathBuf,
    database_created: bool,
    key_file: Option<PathBuf>,
    key_file_written: bool,
    node_id: Option<String>,
}

pub(crate) fn init(args: &Args) -> Result<(), CliError> {
    let report = Report::start("nonos.init/1", args.output);
    report.finish(make(args), table)
}

fn table(made: &Made) -> String {
    let done = |done| {
        if done {
            "written"
        } else {
            "was there, unchanged"
        }
    };
    let (config, database) = (made.config.display(), made.database.display());
    let mut text = format!(
        "configuration  {config} ({})\ndatabase       {database} ({})",
        done(made.config_written),
        done(made.database_created),
    );
    if let Some(key_file) = &made.key_file {
        let key_file = key_file.display();
        push_line(
            &mut text,
            format_args!(
                "key file       {key_file} ({})",
                done(made.key_file_written)
            ),
        );
    }
    if let Some(node_id) = &made.node_id {
        push_line(&mut text, format_args!("node id        {node_id}"));
    }
    if made.key_file_written {
        text.push_str("\n\n");
        text.push_str(LOSING_IT);
    }
    text
}

fn make(args: &Args) -> Result<Made, CliError> {
    let with_key = cfg!(feature = "encrypted-storage")
        && !matches!(args.verb, Verb::Init { no_key: true, .. });
    let places = Places::of(args)?;
    // What is wrong with a file that exists is said before anything is made.
    let database = places.load()?.storage.path;
    cmd::alone(args, &places.data_dir, &database)?;
    #[cfg(feature = "encrypted-storage")]
    if places.config.exists() {
        begin_anew(args, &places.load()?)?;
    }
    let config_written = places.create(with_key)?;
    let settings = places.load()?;
    let mut made = Made {
        data_dir: places.data_dir,
        config: places.config,
        config_written,
        database: settings.storage.path.clone(),
        database_created: !settings.storage.path.exists(),
        key_file: None,
        key_file_written: false,
        node_id: None,
    };
    fill(args, &settings, with_key, &mut made)?;
    Ok(made)
}

/// What is left of a database that is gone says that the new one was put back: it is set aside, if that is wanted.
#[cfg(feature = "encrypted-storage")]
fn begin_anew(args: &Args, settings: &Settings) -> Result<(), CliError> {
    use crate::cmd::backup::now;
    use crate::cmd::migrate::confirm;
    use crate::cmd::restore::with_ending;

    let Some(left) = crate::keys::left_of_gone(args, settings)? else {
        return Ok(());
    };
    let left = left.display();
    confirm(
        args,
        &format!("making an empty database, though {left} says that this node has had one"),
    )?;
    let anchor = &settings.secrets.anchor_file;
    if !anchor.is_file() {
        return Ok(());
    }
    let aside = with_ending(anchor, &format!(".before-{}", now()));
    std::fs::rename(anchor, aside).map_err(|source| CliError::Io {
        action: "rename",
        path: anchor.clone(),
        source,
    })
}

#[cfg(feature = "encrypted-storage")]
fn fill(args: &Args, settings: &Settings, with_key: bool, made: &mut Made) -> Result<(), CliError> {
    use crate::keys;

    let passphrase = match args.verb {
        Verb::Init {
            passphrase: true, ..
        } => Some(keys::new_passphrase(args)?),
        _ => None,
    };
    // Only `run` and `migrate` migrate.
    let opening = crate::progress::opening(args, settings.storage.clone());
    let storage = keys::guarded(opening, settings).migrate(false).open()?;
    storage.data_path().clone_into(&mut made.database);
    if with_key {
        let passphrase = passphrase.as_deref().map(String::as_str);
        made.key_file_written = keys::ensure(args, settings, &storage, passphrase)?;
        if let keys::Source::File(path) = keys::Source::of(args, settings) {
            made.key_file = Some(path);
        }
        keys::ensure_identity(&storage)?;
    }
    made.node_id = storage.load_node_id()?.map(|id| id.to_string());
    Ok(storage.close()?)
}

#[cfg(not(feature = "encrypted-storage"))]
fn fill(
    args: &Args,
    settings: &Settings,
    _with_key: bool,
    made: &mut Made,
) -> Result<(), CliError> {
    let opening = crate::progress::opening(args, settings.storage.clone());
    let storage = opening.migrate(false).open()?;
    storage.data_path().clone_into(&mut made.database);
    made.node_id = storage.load_node_id()?.map(|id| id.to_string());
    Ok(storage.close()?)
}
