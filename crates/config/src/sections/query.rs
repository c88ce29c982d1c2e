//! `[[query]]`: stored queries, for the audience `query:NAME`.

use crate::{
    keys::{Section, Shape, key},
    load::{Loading, shown},
    problem::did_you_mean,
    read::Table,
};
use tidings_core::filter::Filter;

pub(crate) static QUERY: Section = Section {
    meaning: "A stored query over the mirrored directories, for the audience `query:NAME` of rules.",
    keys: &[
        key("name", Shape::Text, "Its name, unique among the queries; required."),
        key(
            "filter",
            Shape::Expression,
            "A filter in SCIM's syntax (RFC 7644 §3.4.2.2), such as `department eq \"Sales\" and enabled eq true`; required.",
        ),
        key("directory", Shape::Text, "The directory it looks into; all of them if absent."),
    ],
};

/// A stored query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Its name, unique.
    pub name: String,
    /// A filter in SCIM's syntax.
    pub filter: String,
    /// The directory it looks into; it exists. Default: all of them.
    pub directory: Option<String>,
}

pub(crate) fn build(loading: &Loading<'_>, tables: &[Table<'_>], directories: &[String]) -> Vec<Query> {
    let mut queries: Vec<Query> = Vec::new();
    for table in tables {
        for required in ["name", "filter"] {
            if !table.has(required) {
                loading.problem(table.at(), table.key(required), "is missing; every query needs it");
            }
        }
        let directory = table.owned("directory");
        if let Some(directory) = directory.as_ref().filter(|name| !directories.contains(name)) {
            let hint = did_you_mean(directory, directories.iter().map(String::as_str));
            loading.problem(
                table.place("directory"),
                table.key("directory"),
                format!("there is no directory `{}`{hint}", shown(directory)),
            );
        }
        if let Some(error) = table.text("filter").and_then(|filter| Filter::parse(filter).err()) {
            loading.problem(table.place("filter"), table.key("filter"), error.to_string());
        }
        let (name, filter) = (table.owned("name").unwrap_or_default(), table.owned("filter").unwrap_or_default());
        if let Err(error) = Filter::parse(&filter)
            && table.has("filter")
        {
            loading.problem(table.place("filter"), table.key("filter"), error.to_string());
        }
        if queries.iter().any(|query| query.name == name) && table.has("name") {
            loading.problem(table.place("name"), table.key("name"), format!("`{}` is the name of another query already", shown(&name)));
        }
        queries.push(Query { name, filter, directory });
    }
    queries
}
