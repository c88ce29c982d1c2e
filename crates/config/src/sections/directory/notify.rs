//! `[directory.notify]`: the switches of Netwrix Directory Manager's notification page, each of which stands for a rule.

use super::Directory;
use crate::{
    keys::{Section, Shape, key, preset},
    load::Loading,
    read::Table,
};
use tidings_core::policy::{Audience, Condition, Directories, Origin, Rule, TypePattern};

pub(crate) static NOTIFY: Section = Section {
    meaning: "Who is told of which change of this directory. Each switch stands for a rule `<directory>:<switch>`, which `tidings rules list` shows; a rule of that name replaces it.",
    keys: &[
        preset("actor", Shape::Flag, "false", "Whoever makes a change is told of it."),
        preset(
            "owner_manager",
            Shape::Flag,
            "false",
            "Of a change to a group its owners are told, the primary one and the additional ones; of a change to a user or contact the manager.",
        ),
        preset(
            "object",
            Shape::Flag,
            "false",
            "Of a modification the object itself is told: the user or contact, or the members of the group.",
        ),
        preset("public_group_owners", Shape::Flag, "false", "The owners of a public group are told of everybody who joins or leaves."),
        preset("added_member", Shape::Flag, "false", "Whoever is added to a group is told."),
        preset("removed_member", Shape::Flag, "false", "Whoever is removed from a group is told."),
        key("membership", Shape::Table(&MEMBERSHIP), "Memberships for a time."),
        key("managed_by", Shape::Table(&MANAGED_BY), "Additional owners and managers for a time."),
    ],
};

static MEMBERSHIP: Section = Section {
    meaning: "Memberships for a time.",
    keys: &[
        preset("joined", Shape::Flag, "false", "Whoever joins a group for a time is told."),
        preset("left", Shape::Flag, "false", "Whoever leaves a group after such a time is told."),
        key(
            "days_before_leaving",
            Shape::Number(1, 365),
            "So many days before a membership ends its member is told. Waits for the clock of a later version.",
        ),
    ],
};

static MANAGED_BY: Section = Section {
    meaning: "Additional owners and managers for a time.",
    keys: &[
        preset(
            "same_as_membership",
            Shape::Flag,
            "false",
            "Whether the options of `membership` hold here, too; the three below may not be written then.",
        ),
        preset(
            "added",
            Shape::Flag,
            "false",
            "Whoever becomes an additional owner or manager for a time is told, and the primary owner or manager; of a group all its members.",
        ),
        preset("removed", Shape::Flag, "false", "Whoever ceases to be one is told, and the primary owner or manager."),
        key(
            "days_before_removal",
            Shape::Number(1, 365),
            "So many days before that they are told. Waits for the clock of a later version.",
        ),
    ],
};

/// The switches of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notify {
    /// Whoever makes a change is told.
    pub actor: bool,
    /// Owners are told of changes to their groups, managers of changes to their people.
    pub owner_manager: bool,
    /// The object itself is told of a modification.
    pub object: bool,
    /// Owners of public groups are told of everybody who joins or leaves.
    pub public_group_owners: bool,
    /// New members are told.
    pub added_member: bool,
    /// Former members are told.
    pub removed_member: bool,
    /// Memberships for a time.
    pub membership: Lifecycle,
    /// Additional owners and managers for a time; what `same_as_membership` copies stands here already.
    pub managed_by: Lifecycle,
}

/// What is told of something that holds for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifecycle {
    /// Its beginning.
    pub begun: bool,
    /// Its end.
    pub ended: bool,
    /// Its end so many days ahead; the clock for it comes with schedules.
    pub days_before: Option<u16>,
}

pub(super) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Notify {
    let reminds = |table: &Table<'_>, name: &str| {
        if table.has(name) {
            loading.warning(table.place(name), table.key(name), "is kept, but reminders come with schedules, in a later version");
        }
        table.number(name)
    };
    let own = table.table("membership");
    let membership = Lifecycle { begun: own.flag("joined"), ended: own.flag("left"), days_before: reminds(&own, "days_before_leaving") };
    let own = table.table("managed_by");
    let managed_by = if own.flag("same_as_membership") {
        for name in ["added", "removed", "days_before_removal"].into_iter().filter(|name| own.has(name)) {
            loading.problem(
                own.place(name),
                own.key(name),
                "cannot be written beside same_as_membership = true, which takes it from `membership`",
            );
        }
        membership
    } else {
        Lifecycle { begun: own.flag("added"), ended: own.flag("removed"), days_before: reminds(&own, "days_before_removal") }
    };
    Notify {
        actor: table.flag("actor"),
        owner_manager: table.flag("owner_manager"),
        object: table.flag("object"),
        public_group_owners: table.flag("public_group_owners"),
        added_member: table.flag("added_member"),
        removed_member: table.flag("removed_member"),
        membership,
        managed_by,
    }
}

/// Every change that a directory's source may find.
const CHANGES: [&str; 5] = ["object.*", "membership.joined", "membership.left", "management.added", "management.removed"];
/// Those that modify an object which is there before and after.
const MODIFICATIONS: [&str; 5] = ["object.changed", "membership.joined", "membership.left", "management.added", "management.removed"];
const MEMBERSHIPS: [&str; 2] = ["membership.joined", "membership.left"];
const IS_PUBLIC: &str = "has(object.public) && object.public";
const FOR_A_TIME: &str = "has(details.ends_at)";
const OFFICE_FOR_A_TIME: &str = "has(details.ends_at) && details.role in ['additional_owner', 'manager']";

/// A switch as a rule: name, types, condition, audiences.
type Row = (&'static str, &'static [&'static str], Option<&'static str>, &'static [&'static str]);

/// The rules that a directory's switches and addresses stand for.
pub(super) fn rules(directory: &Directory) -> Vec<Rule> {
    let on = directory.notify.unwrap_or_default();
    let rows: [(bool, Row); 10] = [
        (on.actor, ("actor", &CHANGES, None, &["actor"])),
        (on.owner_manager, ("owner_manager", &CHANGES, None, &["owners", "object_manager"])),
        (on.object, ("object", &MODIFICATIONS, None, &["object"])),
        (on.public_group_owners, ("public_group_owners", &MEMBERSHIPS, Some(IS_PUBLIC), &["owners"])),
        (on.added_member, ("added_member", &["membership.joined"], None, &["member"])),
        (on.removed_member, ("removed_member", &["membership.left"], None, &["member"])),
        (on.membership.begun, ("membership.joined", &["membership.joined"], Some(FOR_A_TIME), &["member"])),
        (on.membership.ended, ("membership.left", &["membership.left"], Some(FOR_A_TIME), &["member"])),
        (
            on.managed_by.begun,
            ("managed_by.added", &["management.added"], Some(OFFICE_FOR_A_TIME), &["member", "primary_owner", "object_manager"]),
        ),
        (
            on.managed_by.ended,
            ("managed_by.removed", &["management.removed"], Some(OFFICE_FOR_A_TIME), &["member", "primary_owner", "object_manager"]),
        ),
    ];
    let mut rules: Vec<Rule> = rows.into_iter().filter(|(is_on, _)| *is_on).map(|(_, row)| rule(directory, &row)).collect();
    if !directory.to.is_empty() || !directory.cc.is_empty() {
        let fixed = |list: &[tidings_core::Address]| list.iter().cloned().map(Audience::Address).collect();
        let all = rule(directory, &("recipients", &CHANGES, None, &[]));
        rules.push(Rule { to: fixed(&directory.to), cc: fixed(&directory.cc), ..all });
    }
    rules
}

fn rule(directory: &Directory, (switch, on, when, to): &Row) -> Rule {
    let on = on.iter().map(|name| TypePattern::parse(name).expect("the switches name kinds that there are")).collect();
    let to = to.iter().map(|word| Audience::parse(word).expect("the switches name audiences that there are")).collect();
    Rule {
        origin: Origin::Switch,
        directories: Directories::Only(directory.name.clone()),
        when: when.map(|text| Condition::compile(text).expect("the switches' conditions compile")),
        relay: directory.relay.clone(),
        ..Rule::simple(format!("{}:{switch}", directory.name), on, to)
    }
}
