//! What was stored is what loads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use nonos_storage::{NodeId, NodeStorage, NonosResult};
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Flattened, Limits, Marker, Mode, Named, Pair, Tagged, Untagged, Wrapped, becomes};
use crate::TestResult;
use crate::contents::{chain, peer};
use crate::on_disk::OnDisk;

/// Bytes that serde takes as bytes and not as a sequence of numbers.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyBytes;
        impl Visitor<'_> for OnlyBytes {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_byte_buf(OnlyBytes)
    }
}

#[test]
fn every_shape_of_value_round_trips_on_disk() -> TestResult {
    /// Stores a value under a name, and checks it in the same way later.
    struct Case {
        store: Named<NonosResult<()>>,
        check: Named<TestResult>,
    }
    fn case<T>(make: fn() -> T) -> Case
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
    {
        Case {
            store: Box::new(move |storage, name| storage.store_config(name, &make())),
            check: Box::new(move |storage, name| {
                let found = storage.load_config::<T>(name);
                let found = found.map_err(|e| format!("{name} {:?}: {}", make(), chain(&e)))?;
                assert_eq!(found, Some(make()), "{name}");
                Ok(())
            }),
        }
    }
    let cases = [
        case(|| Mode::Off),
        case(|| Mode::Level(255)),
        case(|| Mode::Span(i64::MIN, i64::MAX)),
        case(|| Mode::Custom {
            name: "ß\0\u{10ffff}".to_owned(),
            on: None,
        }),
        case(|| vec![Mode::Off, Mode::Level(0)]),
        case(|| Tagged::Empty),
        case(|| Tagged::Full {
            size: 1,
            ratio: 0.1,
        }),
        case(|| Untagged::List(vec![Untagged::Number(-1), Untagged::Text("1".to_owned())])),
        case(|| Flattened {
            name: "f".to_owned(),
            rest: BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), -2)]),
        }),
        case(|| None::<u32>),
        case(|| Some(7_u32)),
        case(|| Some(String::new())),
        case(|| vec![Some(1_u8), None]),
        case(|| u128::MAX),
        case(|| u128::from(u64::MAX) + 1),
        case(|| i128::MIN),
        case(|| i128::from(i64::MIN) - 1),
        case(|| vec![u128::MAX, 0, 1 << 64]),
        case(|| u64::MAX),
        case(|| i64::MIN),
        case(|| f64::MIN_POSITIVE),
        case(|| f64::MAX),
        case(|| -0.1_f32),
        case(|| 'ß'),
        case(String::new),
        case(Vec::<u8>::new),
        case(|| Bytes(vec![0, 255])),
        case(BTreeMap::<String, u8>::new),
        case(|| BTreeMap::from([(1_u32, "one".to_owned()), (2, "two".to_owned())])),
        case(|| BTreeMap::from([(-1_i64, true)])),
        case(|| BTreeMap::from([((1_u8, 2_u8), 3_u8)])),
        case(|| ()),
        case(|| Marker),
        case(|| Wrapped(9)),
        case(|| Pair(1, "one".to_owned())),
        case(|| Limits { soft: 1, hard: 2 }),
        case(|| (1_u8, "two".to_owned(), Some(3.0_f64), [true, false])),
        case(|| NodeId([3; 32])),
        case(|| peer("a peer as a value")),
        case(|| Duration::new(1, 999_999_999)),
        case(|| IpAddr::V4(Ipv4Addr::LOCALHOST)),
        case(|| IpAddr::V6(Ipv6Addr::LOCALHOST)),
        case(|| SocketAddr::from(([192, 0, 2, 1], 9000))),
        case(|| PathBuf::from("/srv/node")),
        case(|| "nested".chars().map(|c| vec![vec![c]]).collect::<Vec<_>>()),
        case(|| toml::Value::Array(vec![1.into(), "two".into(), true.into()])),
    ];
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    for (number, case) in cases.iter().enumerate() {
        (case.store)(&storage, &format!("case {number}"))?;
    }
    let storage = disk.reopen(storage)?;
    assert_eq!(storage.tree_sizes()?.config, cases.len());
    for (number, case) in cases.iter().enumerate() {
        (case.check)(&storage, &format!("case {number}"))?;
    }
    Ok(())
}

#[test]
fn numbers_that_are_not_finite_round_trip_as_config() -> TestResult {
    let storage = NodeStorage::in_memory()?;
    storage.store_config("nan", &f64::NAN)?;
    let nan: Option<f64> = storage.load_config("nan")?;
    assert!(nan.is_some_and(f64::is_nan), "{nan:?}");
    let nan: Option<f32> = storage.load_config("nan")?;
    assert!(nan.is_some_and(f32::is_nan), "{nan:?}");
    becomes::<f64, f64>(&storage, &f64::NEG_INFINITY, &f64::NEG_INFINITY)
}

#[test]
fn sequences_load_as_any_collection_of_that_length() -> TestResult {
    let storage = &NodeStorage::in_memory()?;
    becomes::<[u8; 3], Vec<u8>>(storage, &[1, 2, 3], &vec![1, 2, 3])?;
    becomes::<Vec<u8>, [u8; 3]>(storage, &vec![1, 2, 3], &[1, 2, 3])?;
    becomes::<(u8, u8), Vec<u8>>(storage, &(1, 2), &vec![1, 2])?;
    becomes::<BTreeSet<u8>, Vec<u8>>(storage, &BTreeSet::from([2, 1]), &vec![1, 2])?;
    becomes::<u32, Option<u32>>(storage, &1, &Some(1))?;
    becomes::<Option<u32>, u32>(storage, &Some(1), &1)?;
    becomes::<char, String>(storage, &'c', &"c".to_owned())
}
