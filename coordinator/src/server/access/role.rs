//! What each call needs.

use std::str::FromStr;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A worker: gets folds and reports on them, and sees nothing else.
    Worker,
    /// A person or program that makes, steers and evaluates studies, and sees everything.
    Writer,
    /// A person or program that looks.
    Reader,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Worker => "worker",
            Self::Writer => "writer",
            Self::Reader => "reader",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "worker" => Ok(Self::Worker),
            "writer" => Ok(Self::Writer),
            "reader" => Ok(Self::Reader),
            _ => Err(format!("`{text}` is no role; use worker, writer or reader")),
        }
    }
}

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    /// Whatever is there.
    Everything,
    /// What its role may do.
    Only(Role),
}

impl Grant {
    pub(super) fn includes(self, role: Role) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(own) => own == role || (own, role) == (Role::Writer, Role::Reader),
        }
    }
}

impl std::fmt::Display for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Everything => f.write_str("token for everything"),
            Self::Only(role) => write!(f, "{role}'s token"),
        }
    }
}

/// What a call must bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// Any token.
    AnyToken,
    /// A token of a role.
    Role(Role),
    /// A token of a role, unless the caller is on this machine.
    RoleFromAfar(Role),
}

/// What the methods of our services need. One that is not here is open to nobody where there are tokens; a test demands
/// a line for every method of the .proto files.
const METHODS: &[(&str, Role)] = &[
    ("/foldwise.v1.WorkerService/Session", Role::Worker),
    ("/foldwise.v1.StudyService/CreateStudy", Role::Writer),
    ("/foldwise.v1.StudyService/GetStudy", Role::Reader),
    ("/foldwise.v1.StudyService/ListStudies", Role::Reader),
    ("/foldwise.v1.StudyService/PauseStudy", Role::Writer),
    ("/foldwise.v1.StudyService/ResumeStudy", Role::Writer),
    ("/foldwise.v1.StudyService/StopStudy", Role::Writer),
    ("/foldwise.v1.WorkerService/PutArtifact", Role::Worker),
    ("/foldwise.v1.WorkerService/GetArtifact", Role::Worker),
    ("/foldwise.v1.StudyService/PutModel", Role::Writer),
    ("/foldwise.v1.StudyService/ExtendStudy", Role::Writer),
    ("/foldwise.v1.StudyService/DeleteStudy", Role::Writer),
    ("/foldwise.v1.StudyService/RetryTrial", Role::Writer),
    ("/foldwise.v1.StudyService/StopTrial", Role::Writer),
    ("/foldwise.v1.StudyService/GetLedger", Role::Reader),
    ("/foldwise.v1.StudyService/ListWorkers", Role::Reader),
    ("/foldwise.v1.StudyService/DrainWorker", Role::Writer),
    ("/foldwise.v1.StudyService/UndrainWorker", Role::Writer),
    ("/foldwise.v1.StudyService/GetTrial", Role::Reader),
    ("/foldwise.v1.StudyService/ListTrials", Role::Reader),
    ("/foldwise.v1.StudyService/ExplainTrial", Role::Reader),
    ("/foldwise.v1.StudyService/ReplayStudy", Role::Reader),
    ("/foldwise.v1.StudyService/GetCurve", Role::Reader),
    ("/foldwise.v1.StudyService/Ask", Role::Writer),
    ("/foldwise.v1.StudyService/Report", Role::Writer),
    ("/foldwise.v1.StudyService/Tell", Role::Writer),
    ("/foldwise.v1.StudyService/Renew", Role::Writer),
    ("/foldwise.v1.StudyService/AddTrial", Role::Writer),
    ("/foldwise.v1.StudyService/EnqueueTrial", Role::Writer),
    ("/foldwise.v1.StudyService/WatchStudy", Role::Reader),
    ("/foldwise.v1.StudyService/ListChildren", Role::Reader),
    ("/foldwise.v1.StudyService/ListArtifacts", Role::Reader),
    ("/foldwise.v1.StudyService/FetchArtifact", Role::Reader),
];

/// What is served beside our services: whole services, and pages for plain HTTP.
const OTHERS: &[(&str, Need)] = &[
    ("/grpc.health.v1.Health/Check", Need::Nothing),
    ("/grpc.health.v1.Health/List", Need::Nothing),
    ("/grpc.health.v1.Health/Watch", Need::Nothing),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Need::AnyToken),
    ("/healthz", Need::Nothing),
    ("/metrics", Need::RoleFromAfar(Role::Reader)),
];

/// The path, if something is served there.
pub(in crate::server) fn known(path: &str) -> Option<&'static str> {
    let methods = METHODS.iter().map(|(known, _)| *known);
    methods.chain(OTHERS.iter().map(|(known, _)| *known)).find(|known| *known == path)
}

/// What a call of this path needs; nothing if no rule has it.
pub(super) fn need(path: &str) -> Option<Need> {
    let method = METHODS.iter().find(|(known, _)| *known == path).map(|(_, role)| Need::Role(*role));
    method.or_else(|| OTHERS.iter().find(|(known, _)| *known == path).map(|(_, need)| *need))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use foldwise_proto::FILE_DESCRIPTORS;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// The path of every method in descriptors.
    fn methods(descriptors: &[u8]) -> BTreeSet<String> {
        let set = FileDescriptorSet::decode(descriptors).expect("descriptors");
        let mut paths = BTreeSet::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    paths.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
        paths
    }

    #[test]
    fn every_method_has_its_role() {
        let listed: BTreeSet<String> = METHODS.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(listed.len(), METHODS.len(), "a method is listed twice");
        let there = methods(FILE_DESCRIPTORS);
        assert!(there.len() >= 19, "{there:?}");
        let missing: Vec<_> = there.difference(&listed).collect();
        assert!(missing.is_empty(), "give these a role in METHODS: {missing:?}");
        let gone: Vec<_> = listed.difference(&there).collect();
        assert!(gone.is_empty(), "these are no methods any more: {gone:?}");
        for path in methods(tonic_health::pb::FILE_DESCRIPTOR_SET) {
            assert_eq!(need(&path), Some(Need::Nothing), "{path}");
        }
        for path in methods(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET) {
            assert_eq!(need(&path), Some(Need::AnyToken), "{path}");
        }
    }

    #[test]
    fn what_only_looks_is_open_to_readers_and_nothing_else_is() {
        for path in methods(FILE_DESCRIPTORS) {
            let (_, name) = path.rsplit_once('/').expect("a path");
            let looks = ["Get", "List", "Explain", "Replay", "Watch", "Export", "Fetch"];
            let looks = looks.iter().any(|word| name.starts_with(word));
            let wanted = match path.contains("WorkerService") {
                true => Role::Worker,
                false if looks => Role::Reader,
                false => Role::Writer,
            };
            assert_eq!(need(&path), Some(Need::Role(wanted)), "{path}");
        }
    }

    #[test]
    fn grants() {
        use Role::{Reader, Worker, Writer};
        for (grant, opens) in [
            (Grant::Everything, [true, true, true]),
            (Grant::Only(Worker), [true, false, false]),
            (Grant::Only(Writer), [false, true, true]),
            (Grant::Only(Reader), [false, false, true]),
        ] {
            assert_eq!([Worker, Writer, Reader].map(|role| grant.includes(role)), opens, "{grant}");
        }
    }

    #[test]
    fn what_is_not_listed_has_no_rule() {
        for path in [
            "/",
            "/foldwise.v1.StudyService/",
            "/foldwise.v1.StudyService/getstudy",
            "/healthz/",
            "//healthz",
        ] {
            assert_eq!(need(path), None, "{path}");
        }
    }
}
