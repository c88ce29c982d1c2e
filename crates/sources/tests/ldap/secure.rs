//! Encryption and sign-in: by password and by certificate, with an authority of one's own.

use crate::house::{House, plan};
use std::fs;
use tidings_sources::ldap::{Bind, LdapError, LdapPlan, Once, Password, PlanError, Server, Way};
use tidings_testkit::{
    certs::{CertFiles, TestCa, Validity},
    slapd::{Slapd, person},
};

fn encrypted(slapd: &Slapd, ca: &TestCa, host: &str, start_tls: bool) -> LdapPlan {
    let url = if start_tls { format!("ldap://{host}:{}", slapd.port()) } else { format!("ldaps://{host}:{}", slapd.tls_port()) };
    let mut plan = plan(slapd, Way::Auto);
    plan.servers = vec![Server::parse(&url, start_tls).unwrap()];
    plan.ca_pem = Some(fs::read(ca.pem_path()).unwrap());
    plan
}

fn identity(files: &CertFiles) -> (Vec<u8>, Password) {
    (fs::read(&files.cert_pem).unwrap(), Password::new(fs::read_to_string(&files.key_pem).unwrap()))
}

async fn refusal(house: &House, plan: LdapPlan) -> String {
    house.source(plan).once(Once::default()).await.map_err(|error: LdapError| error.chain()).expect_err("it is refused")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ways_to_encryption_work_with_an_authority_of_ones_own() {
    let ca = TestCa::new();
    let slapd = Slapd::builder()
        .tls(&ca.issue("localhost", Validity::Good), ca.pem_path())
        .content(&person("ada"))
        .setting("security simple_bind=128")
        .start();
    for start_tls in [false, true] {
        let house = House::new().await;
        assert_eq!(house.once(encrypted(&slapd, &ca, "localhost", start_tls)).await.entries, 1);
        let wrong_name = refusal(&house, encrypted(&slapd, &ca, "127.0.0.1", start_tls)).await;
        assert!(wrong_name.contains("made out to another name"), "{wrong_name}");
        let unknown = refusal(&house, encrypted(&slapd, &TestCa::new(), "localhost", start_tls)).await;
        assert!(unknown.contains("not trusted here"), "{unknown}");
    }
    let house = House::new().await;
    let clear = refusal(&house, plan(&slapd, Way::Auto)).await;
    assert!(clear.contains("confidentialityRequired"), "{clear}");
    let mut mistaken = encrypted(&slapd, &ca, "localhost", false);
    mistaken.servers[0].port = slapd.port();
    let mistaken = refusal(&house, mistaken).await;
    assert!(mistaken.contains("TLS with ldaps://localhost"), "{mistaken}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_signs_in() {
    let ca = TestCa::new();
    let access = "access to * by dn.exact=\"cn=reader,ou=people,dc=example,dc=org\" read by * none";
    let slapd =
        Slapd::builder().tls(&ca.issue("localhost", Validity::Good), ca.pem_path()).content(&person("ada")).replace_access(access).start();
    let house = House::new().await;
    let mut plan = encrypted(&slapd, &ca, "localhost", false);
    plan.bind = Bind::External;
    plan.client_identity = Some(identity(&ca.issue_client("reader", Validity::Good)));
    assert_eq!(house.once(plan.clone()).await.entries, 1);
    plan.client_identity = Some(identity(&ca.issue_client("somebody", Validity::Good)));
    let nobody = refusal(&House::new().await, plan.clone()).await;
    assert!(nobody.contains("noSuchObject"), "{nobody}");
    plan.client_identity = None;
    assert!(matches!(plan.check(), Err(PlanError::External)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_no_server_are_said_so() {
    let slapd = Slapd::builder().content(&person("ada")).start();
    let house = House::new().await;
    let mut wrong = plan(&slapd, Way::Auto);
    wrong.bind = Bind::Simple { dn: tidings_testkit::slapd::ADMIN.to_owned(), password: Password::new("guess") };
    let refused = refusal(&house, wrong).await;
    assert!(refused.contains("invalidCredentials") && !refused.contains("guess"), "{refused}");
    let mut nowhere = plan(&slapd, Way::Auto);
    drop(slapd);
    nowhere.pauses.1 = nowhere.pauses.0;
    let refused = refusal(&house, nowhere).await;
    assert!(refused.contains("cannot connect to ldap://127.0.0.1"), "{refused}");
    let far = LdapPlan { servers: vec![Server::parse("ldap://dc1.example.org", false).unwrap()], ..plan_of_nobody() };
    assert!(matches!(far.check(), Err(PlanError::ClearText(_))));
}

fn plan_of_nobody() -> LdapPlan {
    crate::house::plan_for(&[1], Way::Auto)
}
