//! What there is to copy, and what is left out and why.

use crate::copy::value::{Column, Entity, Kind};

const fn whole(name: &'static str) -> Column {
    Column { name, kind: Kind::Whole, told: true }
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text, told: true }
}

const fn bytes(name: &'static str) -> Column {
    Column { name, kind: Kind::Bytes, told: true }
}

/// Follows from other columns, so that it is written but not compared.
const fn derived(name: &'static str) -> Column {
    Column { name, kind: Kind::Whole, told: false }
}

const fn entity(name: &'static str, key: usize, columns: &'static [Column]) -> Entity {
    Entity { name, columns, key, cut: key }
}

/// Everything, in the order in which it is copied. A table that is the same in both databases needs no more than its line here.
pub(crate) const ENTITIES: &[Entity] = &[
    entity("meta", 1, &[text("name"), bytes("value")]),
    entity("word", 1, &[whole("number"), text("text")]),
    entity(
        "relay",
        1,
        &[
            whole("number"),
            text("name"),
            whole("paused_at"),
            text("paused_by"),
            text("condition"),
            text("reason"),
            whole("next_probe_at"),
            whole("reported_at"),
        ],
    ),
    entity("pattern", 1, &[whole("number"), bytes("digest"), bytes("text")]),
    entity("token", 1, &[bytes("digest"), text("name"), text("scopes"), whole("created_at"), whole("expires_at")]),
    entity(
        "event",
        1,
        &[
            whole("id"),
            whole("source"),
            text("event_id"),
            whole("kind"),
            whole("time"),
            whole("accepted_at"),
            bytes("data"),
            bytes("trace"),
            whole("trace_pattern"),
        ],
    ),
    entity("event_secret", 1, &[whole("event"), bytes("sealed")]),
    entity(
        "letter",
        1,
        &[whole("id"), whole("rule"), text("message_id"), text("sender"), whole("sensitive"), bytes("bytes"), whole("pattern")],
    ),
    entity(
        "item",
        1,
        &[
            whole("id"),
            whole("event"),
            whole("letter"),
            whole("kind"),
            whole("relay"),
            whole("lane"),
            whole("role"),
            whole("state"),
            whole("due_at"),
            whole("expires_at"),
            whole("accepted_at"),
            whole("attempts"),
            whole("token"),
            whole("node"),
            whole("flags"),
            whole("folded_hash"),
            text("recipient"),
            text("folded"),
            // Of its letter as it was accepted; one database keeps it beside the item, the other finds it in the letter.
            derived("size"),
        ],
    ),
    // Lines are numbered from 1; one database numbers them otherwise.
    Entity {
        name: "history",
        columns: &[whole("item"), whole("line"), whole("at"), whole("next_at"), text("what"), text("who"), text("detail")],
        key: 2,
        cut: 1,
    },
    entity(
        "fan_out",
        1,
        &[
            whole("id"),
            whole("event"),
            whole("rule"),
            bytes("plan"),
            bytes("data"),
            text("cursor"),
            whole("steps"),
            whole("told"),
            whole("passed"),
            whole("batch"),
            whole("begun_at"),
            whole("ended_at"),
        ],
    ),
    entity("fan_out_part", 2, &[whole("fan_out"), whole("part"), bytes("people")]),
    entity(
        "guard_batch",
        1,
        &[
            whole("id"),
            text("flood"),
            whole("rule"),
            whole("event"),
            whole("most"),
            whole("people"),
            whole("opened_at"),
            whole("joins_until"),
            text("state"),
            whole("ended_at"),
            text("ended_by"),
            whole("alerted"),
        ],
    ),
    entity("guard_item", 3, &[whole("batch"), whole("folded_hash"), whole("item")]),
    entity("guard_minute", 2, &[whole("rule"), whole("minute"), whole("people"), whole("first_item")]),
    entity(
        "directory",
        1,
        &[
            whole("number"),
            text("name"),
            bytes("bookmark"),
            whole("generation"),
            whole("objects"),
            whole("loaded_at"),
            whole("heard_at"),
            whole("failed_at"),
            text("failure"),
        ],
    ),
    entity("object_number", 1, &[whole("next")]),
    entity(
        "object",
        1,
        &[
            whole("id"),
            whole("directory"),
            text("key"),
            text("reference"),
            whole("hash"),
            // 0 user 1 group 2 contact 3 account, another one by a colon and its name.
            text("type"),
            text("name"),
            whole("group_hash"),
            text("mail"),
            text("locale"),
            text("timezone"),
            whole("flags"),
            whole("version"),
            whole("created_at"),
            whole("changed_at"),
            text("attributes"),
        ],
    ),
    entity("object_document", 1, &[whole("object"), bytes("document")]),
    entity("sighting", 2, &[whole("directory"), whole("object"), whole("generation")]),
    entity("placeholder", 1, &[whole("id"), whole("directory"), whole("hash"), text("name")]),
    entity("link", 3, &[whole("object"), whole("role"), whole("target"), whole("starts_at"), whole("ends_at"), whole("flags")]),
    entity("looked_up", 3, &[whole("directory"), whole("hash"), whole("object")]),
    entity(
        "marker",
        1,
        &[
            whole("event"),
            whole("directory"),
            text("key"),
            text("value"),
            text("written"),
            text("reference"),
            whole("state"),
            text("seen"),
            whole("noted_at"),
            whole("tries"),
            whole("due_at"),
            text("failure"),
        ],
    ),
    entity("slate", 1, &[text("name"), whole("version"), text("text")]),
    // Who has served, so that what a node that was killed has leased is taken back where the copy is served. A member is not: nobody serves while a copy is made.
    entity(
        "node",
        1,
        &[
            whole("number"),
            text("name"),
            text("shown"),
            text("version"),
            text("offers"),
            whole("since"),
            whole("seen"),
            // A file has no leases of memberships: there it is the moment when the node was last heard of.
            derived("until"),
        ],
    ),
    entity("report", 1, &[whole("id"), bytes("digest"), whole("taken_at"), text("way"), text("form"), text("reporter")]),
    entity(
        "finding",
        1,
        &[
            whole("id"),
            whole("report"),
            text("class"),
            text("status"),
            text("recipient"),
            text("diagnostic"),
            whole("item"),
            text("matched_by"),
            text("candidates"),
        ],
    ),
    entity("setback", 2, &[text("folded"), whole("item"), whole("at")]),
    entity(
        "address_health",
        1,
        &[text("folded"), text("address"), whole("unhealthy_since"), whole("until"), text("reason"), whole("item"), whole("told")],
    ),
];

/// What stands in `meta` and belongs to one database, not to the installation: the number of its schema, the mark of the readiness check, and the note of an unfinished copy.
pub(crate) const OWN_META: [&str; 3] = ["copy", "ready_at", "schema"];

/// Tables and columns of one of the databases that no entity stands for, and why. A column is named behind a dot.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    ("address_count", "a row that is locked; made when it is needed"),
    ("duty", "nobody serves: duties are taken anew"),
    ("guard_rule", "a row that is locked; made when it is needed"),
    ("guard_minute.writer", "writers count apart; their sum is copied"),
    ("history.token", "by it a node knows its own line again when the answer to a commit was lost; it does not outlive the node"),
];

/// Columns of tables that an entity is written to beside its own, or that follow from its own.
pub(crate) const FOLLOWS: &[(&str, &str)] = &[
    ("item.open_until", "its life time while it is open"),
    ("item.span", "by its place (SQLite) or its day (PostgreSQL)"),
    ("open_item", "an item that is open"),
    ("trouble", "the state of an item that did not end well"),
];
