//! Histories that are small enough to be judged by eye.

use super::*;

fn operation(client: u64, called: u64, returned: u64, kind: Kind) -> Operation {
    Operation {
        client,
        kind,
        called,
        returned: (returned > 0).then_some(returned),
        in_order: true,
        revision: None,
    }
}

fn put(value: &str) -> Kind {
    Kind::Put {
        value: value.into(),
    }
}

fn append(value: &str, length: u64) -> Kind {
    Kind::Append {
        value: value.into(),
        length: Some(length),
    }
}

fn get(value: &str) -> Kind {
    Kind::Get {
        value: Some(value.into()),
    }
}

const ABSENT: Kind = Kind::Get { value: None };

#[test]
fn ten_right_histories_are_accepted() {
    let unknown = Kind::Append {
        value: "u".into(),
        length: None,
    };
    let histories = [
        vec![],
        vec![operation(0, 1, 2, ABSENT)],
        vec![operation(0, 1, 2, put("a")), operation(1, 3, 4, get("a"))],
        vec![
            operation(0, 1, 9, put("a")),
            operation(1, 2, 3, ABSENT),
            operation(1, 4, 5, get("a")),
        ],
        vec![operation(0, 1, 9, put("a")), operation(1, 2, 3, get("a"))],
        vec![
            operation(0, 1, 0, unknown.clone()),
            operation(1, 5, 6, ABSENT),
            operation(1, 7, 8, get("u")),
        ],
        vec![
            operation(0, 1, 0, unknown),
            operation(1, 5, 6, ABSENT),
            operation(1, 7, 8, ABSENT),
        ],
        vec![
            operation(0, 1, 5, append("a", 2)),
            operation(1, 1, 5, append("b", 1)),
            operation(2, 6, 7, get("ba")),
        ],
        vec![
            operation(0, 1, 2, put("a")),
            operation(
                0,
                3,
                4,
                Kind::Delete {
                    existed: Some(true),
                },
            ),
            operation(0, 5, 6, ABSENT),
        ],
        vec![operation(0, 1, 2, put("")), operation(0, 3, 4, get(""))],
    ];
    for (place, history) in histories.iter().enumerate() {
        assert_eq!(check_key(history), Ok(()), "history {place}");
    }
}

#[test]
fn ten_wrong_histories_are_refused() {
    let histories = [
        vec![operation(0, 1, 2, get("a"))],
        vec![operation(0, 1, 2, put("a")), operation(1, 3, 4, ABSENT)],
        vec![
            operation(0, 1, 2, put("a")),
            operation(0, 3, 4, put("b")),
            operation(1, 5, 6, get("a")),
        ],
        vec![
            operation(0, 1, 9, put("a")),
            operation(1, 2, 3, get("a")),
            operation(1, 4, 5, ABSENT),
        ],
        vec![
            operation(0, 1, 2, append("a", 1)),
            operation(1, 3, 4, get("aa")),
        ],
        vec![operation(0, 1, 2, append("a", 2))],
        vec![operation(
            0,
            1,
            2,
            Kind::Delete {
                existed: Some(true),
            },
        )],
        vec![
            operation(0, 1, 2, put("a")),
            operation(
                0,
                3,
                4,
                Kind::Delete {
                    existed: Some(false),
                },
            ),
        ],
        vec![operation(0, 1, 9, put("a")), operation(0, 2, 8, ABSENT)],
        vec![operation(0, 1, 2, put("")), operation(0, 3, 4, ABSENT)],
    ];
    for (place, history) in histories.iter().enumerate() {
        assert!(check_key(history).is_err(), "history {place} was accepted");
    }
}

#[test]
fn changes_take_effect_in_the_order_of_their_revisions() {
    let with_revision = |operation: Operation, revision| Operation {
        revision: Some(revision),
        ..operation
    };
    let first = operation(1, 1, 2, put("a"));
    let second = operation(2, 3, 4, put("b"));
    let right = [
        with_revision(first.clone(), 7),
        with_revision(second.clone(), 8),
    ];
    let wrong = [with_revision(first, 8), with_revision(second, 7)];
    assert_eq!(check_key(&right), Ok(()));
    assert!(check_key(&wrong).is_err());
}

#[test]
fn what_saw_a_revision_stands_behind_the_change_that_made_it() {
    let absent_delete = Kind::Delete {
        existed: Some(false),
    };
    let history = |seen| {
        let change = operation(1, 1, 9, put("a"));
        let delete = operation(2, 2, 3, absent_delete.clone());
        [(change, 7), (delete, seen)].map(|(operation, revision)| Operation {
            revision: Some(revision),
            ..operation
        })
    };
    assert_eq!(check_key(&history(6)), Ok(()));
    assert!(check_key(&history(7)).is_err(), "it was there by then");
}

#[test]
fn a_read_tells_in_which_order_unanswered_appends_took_effect() {
    // So many orders of the unanswered ones that they cannot all be tried.
    let tag = |client: u64| format!("c{client};");
    let unanswered = (0..60).map(|client| {
        let value = tag(client).into_bytes();
        let length = None;
        operation(client, 1 + client, 0, Kind::Append { value, length })
    });
    let order = (0..60).map(|place| tag(place * 7 % 60));
    let value: String = order.collect();
    let mut history: Vec<Operation> = unanswered.collect();
    history.push(operation(
        70,
        100,
        200,
        append("end;", value.len() as u64 + 4),
    ));
    history.push(operation(71, 300, 400, get(&(value.clone() + "end;"))));
    assert_eq!(check_key(&history), Ok(()));
    history.push(operation(72, 500, 600, get(&value)));
    assert!(
        check_key(&history)
            .unwrap_err()
            .starts_with("not linearizable")
    );
}
