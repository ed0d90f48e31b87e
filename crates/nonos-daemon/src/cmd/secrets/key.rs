//! `nonos secrets key`: key files.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use nonos_daemon::settings::Settings;
use nonos_storage::key_text::{About, Strength};
use nonos_storage::{EncryptionKeys, NodeStorage};
use serde::Serialize;

use crate::args::{Args, KeyVerb};
use crate::error::CliError;
use crate::keys;
use crate::output::{Report, rfc3339};
use crate::places::Places;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[expect(clippy::struct_field_names, reason = "the names in JSON")]
pub(crate) struct Key {
    file: Option<PathBuf>,
    key_id: String,
    access: &'static str,
    public_key: String,
    created_at: Option<String>,
    store_id: Option<String>,
}

pub(super) fn key(args: &Args, what: &KeyVerb) -> Result<(), CliError> {
    let report = Report::start("nonos.secrets-key/1", args.output);
    report.finish(done(args, what), |key| table(key, what))
}

fn done(args: &Args, what: &KeyVerb) -> Result<Key, CliError> {
    let settings = Places::of(args)?.load()?;
    match what {
        KeyVerb::New { file, passphrase } => {
            let asked = passphrase.then(|| keys::new_passphrase(args)).transpose()?;
            let asked = asked
                .as_deref()
                .map(|text| (text.as_str(), Strength::Normal));
            let made = keys::create(file, &settings, store_id(&settings), asked)?;
            Ok(shown(&made, None, Some(file)))
        }
        KeyVerb::Show { file } => {
            let found = match file {
                Some(file) => keys::load_file(args, &settings, file)?,
                None => of_this_node(args, &settings)?,
            };
            Ok(shown(&found.keys, Some(found.about), file.as_deref()))
        }
        KeyVerb::ExportWriter { file } => {
            let found = of_this_node(args, &settings)?;
            let writer = found.keys.to_writer().map_err(keys::encryption)?;
            keys::write(&writer, file, &settings, found.about.store_id, None)?;
            Ok(shown(&writer, None, Some(file)))
        }
        KeyVerb::Protect { file, strong } => {
            let found = of_this_node(args, &settings)?;
            let strength = if *strong {
                Strength::Strong
            } else {
                Strength::Normal
            };
            let asked = keys::new_passphrase(args)?;
            let protection = Some((asked.as_str(), strength));
            keys::write(
                &found.keys,
                file,
                &settings,
                found.about.store_id,
                protection,
            )?;
            Ok(shown(&found.keys, None, Some(file)))
        }
    }
}

fn of_this_node(args: &Args, settings: &Settings) -> Result<keys::Loaded, CliError> {
    keys::load(args, settings)?
        .ok_or_else(|| keys::encryption(nonos_storage::CryptoError::KeyRequired { key_id: None }))
}

/// The store that a new key is for, if there is one already.
fn store_id(settings: &Settings) -> Option<nonos_storage::StoreId> {
    let storage = NodeStorage::open_readonly(settings.storage.clone()).ok()?;
    Some(storage.store_id())
}

fn shown(keys: &EncryptionKeys, about: Option<About>, file: Option<&Path>) -> Key {
    let public = keys.public_key();
    Key {
        file: file.map(Path::to_owned),
        key_id: keys.key_id().to_string(),
        access: keys.access().name(),
        public_key: HEXLOWER.encode(&public),
        created_at: about.map(|about| rfc3339(about.created_at)),
        store_id: about
            .and_then(|about| about.store_id)
            .map(|id| id.to_string()),
    }
}

fn table(key: &Key, what: &KeyVerb) -> String {
    let mut lines = vec![
        format!("key      {}", key.key_id),
        format!("access   {}", key.access),
        format!("public   {}", key.public_key),
    ];
    if let Some(created_at) = &key.created_at {
        lines.push(format!("created  {created_at}"));
    }
    if let Some(store_id) = &key.store_id {
        lines.push(format!("store    {store_id}"));
    }
    if let Some(file) = &key.file {
        lines.push(format!("file     {}", file.display()));
    }
    if matches!(what, KeyVerb::New { .. } | KeyVerb::Protect { .. }) {
        lines.push(crate::cmd::init::LOSING_IT.to_owned());
    }
    lines.join("\n")
}
