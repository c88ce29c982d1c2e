//! The directories' sources: made from the configuration, at work while the house is open, and exchanged when the configuration is.

use crate::{duties::Works, exit::Misuse};
use anyhow::Result;
use std::sync::Arc;
use tidings_config::{self as sections, Directory, DirectorySource, Settings};
use tidings_intake::Feed;
use tidings_sources::{
    csv::{BadRows, CsvPlan, CsvWatch},
    ldap::{Bind, LdapPlan, LdapSource, Mapping, MarkerPlan, Password, Preset, Server, Tls, Way},
    scim::{Scim, ScimDirectory},
};
use tidings_store::directory_duty;

/// Everything that sources need to begin; made before the sources of an older configuration stop.
pub struct Plans {
    csv: Vec<CsvPlan>,
    ldap: Vec<(String, LdapPlan)>,
    scim: Vec<ScimDirectory>,
}

impl Plans {
    /// The plans of all directories.
    ///
    /// # Errors
    /// [`Misuse`] with everything that keeps a plan from being followed.
    pub fn of(settings: &Settings) -> Result<Self> {
        let faults = faults(settings);
        if !faults.is_empty() {
            return Err(Misuse(faults.join("\n")).into());
        }
        let mut plans = Self { csv: Vec::new(), ldap: Vec::new(), scim: Vec::new() };
        for directory in &settings.directories {
            match &directory.source {
                DirectorySource::Csv(source) => plans.csv.push(csv_plan(directory, source, &settings.organisation)),
                DirectorySource::Ldap(source) => plans.ldap.push((directory.name.clone(), ldap_plan(source))),
                DirectorySource::Scim => {
                    plans.scim.push(ScimDirectory { name: directory.name.clone(), silent_at_first: !directory.first_load_told });
                }
                DirectorySource::None => {}
            }
        }
        Ok(plans)
    }

    /// Opens what every node serves, and gives the work of each source that only one node at a time does.
    pub fn works(self, feed: &Arc<Feed>, scim: &Scim) -> Works {
        scim.open(self.scim);
        let mut works = Works::new();
        for (name, plan) in self.ldap {
            let (duty, feed) = (directory_duty(&name), Arc::clone(feed));
            let begin = move |holder: &str| {
                feed.mirror().fence(&name, holder);
                match LdapSource::new(&name, plan.clone(), Arc::clone(&feed)) {
                    Ok(source) => tokio::spawn(async move {
                        source.run().await;
                    }),
                    Err(error) => {
                        tracing::error!(directory.name = name, %error, "the directory rests");
                        tokio::spawn(std::future::ready(()))
                    }
                }
            };
            works.insert(duty, Box::new(begin));
        }
        for plan in self.csv.into_iter().filter(|plan| plan.folder.is_some()) {
            let (duty, feed, plan) = (directory_duty(&plan.directory), Arc::clone(feed), Arc::new(plan));
            let begin = move |holder: &str| {
                feed.mirror().fence(&plan.directory, holder);
                let watch = CsvWatch::new(Arc::clone(&feed), Arc::clone(&plan));
                tokio::spawn(async move {
                    if let Some(watch) = watch {
                        watch.run().await;
                    }
                })
            };
            works.insert(duty, Box::new(begin));
        }
        works
    }
}

/// Whether a duty is a directory's.
pub fn is_directory(duty: &str) -> bool {
    duty.starts_with(&directory_duty(""))
}

/// What keeps the directories' plans from being followed, a line each.
pub fn faults(settings: &Settings) -> Vec<String> {
    let fault = |directory: &Directory| match &directory.source {
        DirectorySource::Ldap(source) => {
            ldap_plan(source).check().err().map(|error| format!("{}: directory {}: {error}", settings.file.display(), directory.name))
        }
        _ => None,
    };
    settings.directories.iter().filter_map(fault).collect()
}

/// A directory's section as the plan of its server.
pub fn ldap_plan(source: &sections::LdapSource) -> LdapPlan {
    let servers = source.servers.iter().map(|server| Server {
        host: server.host.clone(),
        port: server.port,
        tls: match (server.ldaps, source.tls.starttls) {
            (true, _) => Tls::Implicit,
            (false, true) => Tls::StartTls,
            (false, false) => Tls::None,
        },
    });
    let bind = match &source.bind {
        sections::LdapBind::Anonymous => Bind::Anonymous,
        sections::LdapBind::Simple { dn, password } => Bind::Simple { dn: dn.clone(), password: Password::new(password.reveal()) },
        sections::LdapBind::External => Bind::External,
    };
    let mut mapping = Mapping::preset(match source.preset {
        sections::LdapPreset::ActiveDirectory => Preset::ActiveDirectory,
        sections::LdapPreset::OpenLdap => Preset::OpenLdap,
        sections::LdapPreset::FreeIpa => Preset::FreeIpa,
    });
    for (target, attributes) in &source.attributes {
        mapping.set(target, attributes.split_whitespace().map(str::to_owned).collect());
    }
    let plan = LdapPlan::new(servers.collect(), bind, &source.base, mapping);
    LdapPlan {
        ca_pem: source.tls.ca_pem.clone(),
        client_identity: source.tls.client_identity.as_ref().map(|id| (id.certificate_pem.clone(), Password::new(id.key_pem.reveal()))),
        allow_cleartext: source.allow_cleartext,
        filter: source.filter.clone().unwrap_or_else(|| plan.filter.clone()),
        marker: source.marker.as_ref().map(|marker| MarkerPlan {
            indicator: marker.indicator.clone(),
            schedule: marker.schedule.clone(),
            details: marker.details.clone(),
            ..MarkerPlan::new(&marker.attribute, marker.kinds.clone())
        }),
        way: match source.way {
            sections::LdapWay::Auto => Way::Auto,
            sections::LdapWay::Sync => Way::Sync,
            sections::LdapWay::DirSync => Way::DirSync,
            sections::LdapWay::Poll => Way::Poll,
        },
        poll_every: source.poll_every,
        most_gone_percent: source.most_vanishing_percent,
        failure_grace: source.failing_after,
        answer_timeout: source.timeout,
        ..plan
    }
}

/// The directory of this name.
///
/// # Errors
/// [`Misuse`] with the names there are.
pub fn find<'a>(settings: &'a Settings, name: &str) -> Result<&'a Directory> {
    settings.directory(name).ok_or_else(|| {
        let names: Vec<&str> = settings.directories.iter().map(|directory| directory.name.as_str()).collect();
        let there = if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
        Misuse(format!("no directory is called `{name}`; {there}")).into()
    })
}

/// A directory's section as the plan of its files.
pub fn csv_plan(directory: &Directory, source: &sections::CsvSource, organisation: &sections::Organisation) -> CsvPlan {
    CsvPlan {
        directory: directory.name.clone(),
        folder: source.folder.clone(),
        files: source.files.clone(),
        delta_files: source.delta_files.clone(),
        delimiter: source.delimiter,
        list_separator: source.list_separator,
        columns: source.columns.clone(),
        bad_rows: match source.bad_rows {
            sections::BadRows::Skip => BadRows::Skip,
            sections::BadRows::Refuse => BadRows::Refuse,
        },
        most_vanishing_percent: source.most_vanishing_percent,
        poll_every: source.poll_every,
        first_load_told: directory.first_load_told,
        timezone: organisation.default_timezone.clone(),
    }
}
