//! Config values: what is stored as one type and loaded as another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::path::PathBuf;

use nonos_storage::{ErrorCode, NodeStorage, NonosResult, StoredPeerInfo};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::TestResult;
use crate::contents::{chain, code};

mod round_trip;

use round_trip::Bytes;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Limits {
    soft: u32,
    hard: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pair(u8, String);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Marker;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(u16);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Mode {
    Off,
    Level(u8),
    Span(i64, i64),
    Custom { name: String, on: Option<bool> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Empty,
    Full { size: u32, ratio: f64 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Text(String),
    List(Vec<Untagged>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flattened {
    name: String,
    #[serde(flatten)]
    rest: BTreeMap<String, i64>,
}

/// Stores as one type, loads as another; what was stored can still be loaded as it was afterwards.
fn convert<T, U>(storage: &NodeStorage, value: &T) -> NonosResult<Option<U>>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
    U: DeserializeOwned,
{
    storage.store_config("value", value)?;
    let converted = storage.load_config::<U>("value");
    let again = storage.load_config::<T>("value")?;
    assert_eq!(again.as_ref(), Some(value), "unchanged");
    converted
}

fn wrong<T, U>(storage: &NodeStorage, value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
    U: DeserializeOwned + Debug,
{
    let requested = std::any::type_name::<U>();
    let result = convert::<T, U>(storage, value);
    let text = result.as_ref().map_err(|e| chain(e)).err();
    assert_eq!(
        code(result),
        Ok(ErrorCode::WrongType),
        "{value:?} as {requested}"
    );
    let text = text.unwrap_or_default();
    assert!(text.contains("value") && text.contains(requested), "{text}");
}

fn becomes<T, U>(storage: &NodeStorage, value: &T, expected: &U) -> TestResult
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
    U: DeserializeOwned + PartialEq + Debug,
{
    let requested = std::any::type_name::<U>();
    let found = convert::<T, U>(storage, value);
    let found = found.map_err(|e| format!("{value:?} as {requested}: {}", chain(&e)))?;
    assert_eq!(found.as_ref(), Some(expected), "{value:?} as {requested}");
    Ok(())
}

type Load = fn(&NodeStorage) -> NonosResult<bool>;
type Kind = (&'static str, fn(&NodeStorage) -> NonosResult<()>, Load);
type Named<R> = Box<dyn Fn(&NodeStorage, &str) -> R>;

fn loads<T: DeserializeOwned>(storage: &NodeStorage) -> NonosResult<bool> {
    storage.load_config::<T>("v").map(|value| value.is_some())
}

/// Each kind of value: how one is stored, how one is loaded.
fn kinds() -> Vec<Kind> {
    fn put<T: Serialize + ?Sized>(storage: &NodeStorage, value: &T) -> NonosResult<()> {
        storage.store_config("v", value)
    }
    vec![
        ("text", |s| put(s, "7"), loads::<String>),
        ("number", |s| put(s, &7), loads::<i64>),
        ("sequence", |s| put(s, &[7, 8]), loads::<Vec<i64>>),
        (
            "map",
            |s| put(s, &BTreeMap::from([("soft", 7), ("hard", 8)])),
            loads::<BTreeMap<String, i64>>,
        ),
        ("bool", |s| put(s, &true), loads::<bool>),
        ("bytes", |s| put(s, &Bytes(b"7".to_vec())), loads::<Bytes>),
        ("nothing", |s| put(s, &()), loads::<()>),
    ]
}

#[test]
fn each_kind_loads_as_itself_and_as_no_other() -> TestResult {
    let storage = NodeStorage::in_memory()?;
    let mut garbage = Vec::new();
    for (stored, store, _) in kinds() {
        store(&storage)?;
        for (requested, _, load) in kinds() {
            let found = load(&storage);
            if stored == requested {
                assert_eq!(found.map_err(|e| chain(&e)), Ok(true), "{stored}");
            } else if code(found) != Ok(ErrorCode::WrongType) {
                garbage.push(format!("{stored} as {requested}"));
            }
        }
    }
    assert_eq!(garbage, [""; 0], "loaded instead of WRONG_TYPE");
    Ok(())
}

#[test]
fn other_shapes_of_a_kind_are_still_of_that_kind() -> TestResult {
    let storage = NodeStorage::in_memory()?;
    let mut garbage = Vec::new();
    let requests: [(&str, &str, Load); 14] = [
        ("text", "char", loads::<char>),
        ("text", "PathBuf", loads::<PathBuf>),
        ("number", "u8", loads::<u8>),
        ("number", "u128", loads::<u128>),
        ("number", "i128", loads::<i128>),
        ("number", "NonZero", loads::<NonZeroU32>),
        ("number", "Option<u16>", loads::<Option<u16>>),
        ("number", "newtype", loads::<Wrapped>),
        ("sequence", "tuple", loads::<(u8, u8)>),
        ("sequence", "array", loads::<[u8; 2]>),
        ("sequence", "Vec<u8>", loads::<Vec<u8>>),
        ("sequence", "set", loads::<BTreeSet<u64>>),
        ("map", "struct", loads::<Limits>),
        ("map", "HashMap", loads::<HashMap<String, u8>>),
    ];
    for (stored, store, _) in kinds() {
        store(&storage)?;
        for (kind, requested, load) in requests {
            let found = load(&storage);
            if stored == kind {
                let found = found.map_err(|e| chain(&e));
                assert_eq!(found, Ok(true), "{stored} as {requested}");
            } else if !(stored == "nothing" && requested.starts_with("Option"))
                && code(found) != Ok(ErrorCode::WrongType)
            {
                garbage.push(format!("{stored} as {requested}"));
            }
        }
    }
    assert_eq!(garbage, [""; 0], "loaded instead of WRONG_TYPE");
    Ok(())
}

#[test]
fn a_number_that_does_not_fit_is_a_wrong_type() -> TestResult {
    let storage = &NodeStorage::in_memory()?;
    wrong::<i64, u64>(storage, &-1);
    wrong::<i32, u8>(storage, &256);
    wrong::<i32, i8>(storage, &128);
    wrong::<i32, i8>(storage, &-129);
    wrong::<u64, i64>(storage, &u64::MAX);
    wrong::<u64, u32>(storage, &(1 << 32));
    wrong::<i64, i32>(storage, &i64::MIN);
    wrong::<u128, u64>(storage, &u128::MAX);
    wrong::<u128, u64>(storage, &(1 << 64));
    wrong::<u128, i128>(storage, &u128::MAX);
    wrong::<i128, i64>(storage, &i128::MIN);
    wrong::<i128, u128>(storage, &-1);
    wrong::<i128, u128>(storage, &i128::MIN);
    wrong::<u32, NonZeroU32>(storage, &0);
    wrong::<Vec<u32>, Vec<u8>>(storage, &vec![1, 2, 300]);
    wrong::<Vec<i64>, (u8, u8)>(storage, &vec![1, -2]);
    Ok(())
}

#[test]
fn a_float_is_no_integer_and_must_fit() -> TestResult {
    let storage = &NodeStorage::in_memory()?;
    for float in [1.0, 1.5, -0.0, 1e300, f64::MAX, f64::INFINITY] {
        wrong::<f64, i64>(storage, &float);
        wrong::<f64, u8>(storage, &float);
        wrong::<f64, u128>(storage, &float);
        wrong::<f64, bool>(storage, &float);
        wrong::<f64, String>(storage, &float);
    }
    wrong::<f32, u32>(storage, &2.0);
    wrong::<f64, f32>(storage, &1e300);
    wrong::<f64, f32>(storage, &f64::MIN_POSITIVE);
    wrong::<f64, f32>(storage, &0.1);
    becomes::<f64, f32>(storage, &0.5, &0.5)?;
    becomes::<f64, f32>(storage, &f64::INFINITY, &f32::INFINITY)
}

#[test]
fn a_wider_number_is_fine() -> TestResult {
    let storage = &NodeStorage::in_memory()?;
    becomes::<u8, u16>(storage, &u8::MAX, &255)?;
    becomes::<u8, i64>(storage, &u8::MAX, &255)?;
    becomes::<u8, u128>(storage, &u8::MAX, &255)?;
    becomes::<i8, i16>(storage, &i8::MIN, &-128)?;
    becomes::<i8, i128>(storage, &i8::MIN, &-128)?;
    becomes::<u32, u64>(storage, &u32::MAX, &u32::MAX.into())?;
    becomes::<u64, i128>(storage, &u64::MAX, &u64::MAX.into())?;
    becomes::<i64, i128>(storage, &i64::MIN, &i64::MIN.into())?;
    becomes::<u32, f64>(storage, &7, &7.0)?;
    becomes::<i64, f32>(storage, &-3, &-3.0)?;
    wrong::<u64, f64>(storage, &(1 << 53 | 1 << 54 | 1));
    becomes::<f32, f64>(storage, &0.1, &f64::from(0.1_f32))?;
    becomes::<f32, f64>(storage, &f32::MIN_POSITIVE, &f64::from(f32::MIN_POSITIVE))?;
    // What fits, fits into a narrower type as well.
    becomes::<u64, u8>(storage, &255, &255)?;
    becomes::<i128, i64>(storage, &i64::MIN.into(), &i64::MIN)?;
    becomes::<Vec<u8>, Vec<u64>>(storage, &vec![1, 2], &vec![1, 2])
}

#[test]
fn missing_fields_and_other_lengths_are_a_wrong_type() -> TestResult {
    let storage = &NodeStorage::in_memory()?;
    let map = |keys: &[&str]| -> BTreeMap<String, u32> {
        keys.iter().map(|key| ((*key).to_owned(), 1)).collect()
    };
    wrong::<_, Limits>(storage, &map(&[]));
    wrong::<_, Limits>(storage, &map(&["soft"]));
    wrong::<_, Limits>(storage, &map(&["soft", "Hard"]));
    becomes::<_, Limits>(
        storage,
        &map(&["hard", "other", "soft"]),
        &Limits { soft: 1, hard: 1 },
    )?;
    wrong::<_, Limits>(storage, &vec![1, 2]);
    wrong::<_, Vec<u32>>(storage, &Limits { soft: 1, hard: 2 });
    wrong::<_, BTreeMap<String, u32>>(storage, &BTreeMap::from([(0, 1), (1, 2)]));
    wrong::<_, (u8, u8)>(storage, &vec![1, 2, 3]);
    wrong::<_, (u8, u8, u8)>(storage, &vec![1, 2]);
    wrong::<_, [u8; 4]>(storage, &vec![1, 2, 3]);
    wrong::<_, Pair>(storage, &vec![1, 2]);
    wrong::<_, StoredPeerInfo>(storage, &Limits { soft: 1, hard: 2 });
    wrong::<_, Mode>(storage, &"Unknown".to_owned());
    wrong::<_, Mode>(storage, &"Level".to_owned());
    wrong::<_, Mode>(storage, &BTreeMap::from([("Level".to_owned(), 256)]));
    wrong::<_, Mode>(storage, &map(&["Off", "Level"]));
    wrong::<_, Mode>(storage, &0);
    wrong::<_, u32>(storage, &None::<u32>);
    wrong::<_, Vec<u32>>(storage, &vec![Some(1), None]);
    Ok(())
}

#[test]
fn a_map_of_numbers_is_no_struct() -> TestResult {
    let storage = &NodeStorage::in_memory()?;
    wrong::<_, Limits>(storage, &BTreeMap::from([(0, 1), (1, 2)]));
    Ok(())
}

#[test]
fn a_map_of_bytes_is_no_struct() -> TestResult {
    let storage = &NodeStorage::in_memory()?;
    let key = |name: &str| Bytes(name.as_bytes().to_vec());
    let map = BTreeMap::from([(key("soft"), 1), (key("hard"), 2)]);
    wrong::<_, Limits>(storage, &map);
    Ok(())
}

#[test]
fn the_error_says_what_is_stored_and_where_it_differs() -> TestResult {
    let storage = NodeStorage::in_memory()?;
    storage.store_config("limits", &BTreeMap::from([("soft", "many")]))?;
    for (result, expected) in [
        (storage.load_config::<Limits>("limits").map(drop), "u32"),
        (storage.load_config::<bool>("limits").map(drop), "a map"),
    ] {
        let text = result.map_err(|e| chain(&e)).err().unwrap_or_default();
        assert!(
            text.contains("\"limits\"") && text.contains(expected),
            "{text}"
        );
    }
    Ok(())
}
