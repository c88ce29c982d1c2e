//! Active Directory's way, against a stand-in for its server.

use crate::{
    domain_controller::{BASE, DomainController},
    house::{House, plan_for, words},
};
use tidings_sources::ldap::{LdapPlan, Mapping, Preset, Way};

pub(crate) fn plan(dc: &DomainController, way: Way) -> LdapPlan {
    let mut plan = plan_for(&[dc.port()], way);
    plan.mapping = Mapping::preset(Preset::ActiveDirectory);
    plan.filter = plan.mapping.default_filter();
    BASE.clone_into(&mut plan.base);
    plan.page_size = 2;
    plan
}

pub(crate) fn user(dc: &DomainController, number: u8, name: &str) {
    dc.put(
        number,
        &format!("CN={name},{BASE}"),
        &[
            ("objectClass", &["top", "person", "user"]),
            ("displayName", &[name]),
            ("userAccountControl", &["512"]),
            ("whenChanged", &["20261122051000.0Z"]),
        ],
    );
}

pub(crate) fn company() -> DomainController {
    let dc = DomainController::start();
    for (number, name) in [(1, "Ada"), (2, "Linus"), (3, "Grace"), (4, "Eve"), (5, "Alan")] {
        user(&dc, number, name);
    }
    let members = ["Ada", "Linus", "Grace", "Eve"].map(|name| format!("CN={name},{BASE}"));
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    dc.put(9, &format!("CN=Payroll,{BASE}"), &[("objectClass", &["top", "group"]), ("displayName", &["Payroll"]), ("member", &members)]);
    dc
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_read_by_pages_and_long_lists_by_ranges() {
    let dc = company();
    let house = House::new().await;
    let _following = house.load_and_follow(plan(&dc, Way::Auto)).await;
    assert_eq!(house.members("Payroll").await, ["Ada", "Eve", "Grace", "Linus"]);
    assert_eq!(house.names().await.len(), 6);
    assert!(house.told().await.is_empty());
    // The cookie was taken before the content was read.
    let requests = dc.requests();
    let first = |mark: &str| requests.iter().position(|request| request.ends_with(mark)).unwrap();
    assert!(first("+dirsync") < first("+paged"), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_is_told() {
    let dc = company();
    let house = House::new().await;
    let _following = house.load_and_follow(plan(&dc, Way::Auto)).await;
    let steps: [(&dyn Fn(), &[&str]); 6] = [
        (&|| dc.member(9, &format!("CN=Alan,{BASE}"), true), &["membership.joined Payroll Alan"]),
        (&|| dc.member(9, &format!("CN=Eve,{BASE}"), false), &["membership.left Payroll Eve"]),
        (&|| dc.put(1, &format!("CN=Ada,{BASE}"), &[("userAccountControl", &["514"])]), &["object.changed Ada"]),
        (&|| user(&dc, 6, "Barbara"), &["object.created Barbara"]),
        // An owner is not told by parts: the group is read anew, with its members by ranges.
        (
            &|| dc.put(9, &format!("CN=Payroll,{BASE}"), &[("managedBy", &["CN=Grace,DC=corp,DC=example"])]),
            &["management.added Payroll Grace"],
        ),
        (&|| dc.delete(2), &["object.deleted Linus", "membership.left Payroll Linus"]),
    ];
    let mut expected: Vec<&str> = Vec::new();
    for (step, events) in steps {
        step();
        expected.extend(events);
        assert_eq!(words(&house.told_exactly(expected.len()).await), expected);
    }
    assert_eq!(house.members("Payroll").await, ["Ada", "Alan", "Grace"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_cookie_leads_to_a_comparison() {
    let dc = company();
    let house = House::new().await;
    drop(house.load_and_follow(plan(&dc, Way::Auto)).await);
    dc.put(1, &format!("CN=Ada,{BASE}"), &[("title", &["Countess"])]);
    dc.forget_cookies();
    let _following = house.follow(plan(&dc, Way::Auto));
    let told = house.told_exactly(1).await;
    assert_eq!((words(&told)[0].as_str(), told[0].late), ("object.changed Ada", true));
}
