//! Which crate of the workspace may import which.

use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::Error;

/// A crate and those of the workspace that it may import; a crate not listed here is a finding.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("storage-journal", &[]),
    ("storage-core", &["storage-journal"]),
    ("storage-crypto", &[]),
    ("storage-schema", &["storage-core"]),
    ("storage-ops", &["storage-core", "storage-schema"]),
    (
        "nonos-storage",
        &[
            "storage-core",
            "storage-crypto",
            "storage-schema",
            "storage-ops",
        ],
    ),
    ("nonos-daemon", &["nonos-storage"]),
    ("storage-testkit", &["storage-core"]),
    (
        "storage-fuzz",
        &[
            "nonos-daemon",
            "nonos-storage",
            "storage-core",
            "storage-crypto",
            "storage-journal",
            "storage-ops",
            "storage-schema",
        ],
    ),
    (
        "xtask",
        &[
            "nonos-storage",
            "storage-core",
            "storage-crypto",
            "storage-fuzz",
            "storage-journal",
            "storage-schema",
        ],
    ),
];

/// Only this crate may depend on the engine.
const ENGINE: (&str, &str) = ("sled", "storage-core");

/// Only tests, and trials, may depend on this crate.
const TESTKIT: &str = "storage-testkit";

pub(crate) fn check(root: &Path) -> Result<Vec<String>, Error> {
    let metadata = MetadataCommand::new().current_dir(root).no_deps().exec()?;
    let members: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            findings.push(format!("{name}: not in the list of layers"));
            continue;
        };
        for dependency in &package.dependencies {
            let on = dependency.name.as_str();
            let testing = dependency.kind == DependencyKind::Development;
            let fine = if on == TESTKIT {
                testing || name == "xtask"
            } else if on == ENGINE.0 {
                name == ENGINE.1
            } else {
                testing || !members.contains(&on) || allowed.contains(&on)
            };
            if !fine {
                findings.push(format!("{name}: may not import {on}"));
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_crate_imports_one_that_its_layer_may_not() -> Result<(), crate::Error> {
        assert_eq!(super::check(&crate::root())?, Vec::<String>::new());
        Ok(())
    }
}
