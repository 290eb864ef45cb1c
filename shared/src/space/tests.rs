use super::*;

fn param(text: &str) -> Result<Param, String> {
    let table: toml::Table = toml::from_str(&format!("p = {text}")).map_err(|error| error.to_string())?;
    table["p"].clone().try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

fn parse(text: &str) -> Result<Domain, String> {
    param(text).map(|param| param.domain)
}

/// A space of lines such as `a = { bool = true }`.
fn space(text: &str) -> Space {
    toml::from_str(text).expect(text)
}

#[test]
fn entries_that_work() {
    for (text, cardinality) in [
        ("{ float = [0, 1] }", None),
        ("{ float = [5e-4, 5e-2], log = true }", None),
        ("{ float = [0.0, 0.3], step = 0.1 }", Some(4)),
        ("{ float = [0.5, 0.5] }", Some(1)),
        ("{ int = [128, 256], step = 8 }", Some(17)),
        ("{ int = [10, 40], step = 2 }", Some(16)),
        ("{ choice = [\"adam\", 3, 0.5, true, [3, 2, 1], { a = 1 }] }", Some(6)),
        ("{ bool = true }", Some(2)),
        ("{ fixed = \"adam\" }", Some(1)),
    ] {
        let domain = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(domain.cardinality(), cardinality, "{text}");
        let param = Param::from(domain);
        let json = serde_json::to_value(&param).expect("JSON");
        assert_eq!(serde_json::from_value::<Param>(json).expect("a param"), param, "{text}");
    }
}

#[test]
fn entries_that_do_not() {
    for (text, part) in [
        ("{ float = [1.0, 0.5] }", "above the high bound"),
        ("{ float = [0.0, 1.0], log = true }", "above 0"),
        ("{ float = [nan, 1.0] }", "finite"),
        ("{ float = [0.0, 1.0], step = 0.0 }", "step must be above 0"),
        ("{ float = [0.1, 1.0], step = 0.1, log = true }", "exclude"),
        ("{ int = [5, 1] }", "above the high bound"),
        ("{ int = [0, 10], log = true }", "at least 1"),
        ("{ int = [0, 10], step = 0.5 }", "whole number"),
        ("{ choice = [] }", "at least one"),
        ("{ choice = [1, 1] }", "twice"),
        ("{ choice = [1, 2, 1.0] }", "twice"),
        ("{ bool = false }", "bool = true"),
        ("{ }", "exactly one"),
        ("{ float = [0, 1], int = [0, 1] }", "exactly one"),
        ("{ bool = true, log = true }", "belong to float and int"),
        ("{ float = [0, 1], logg = true }", "unknown field"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn values_by_index() {
    for (text, values) in [
        ("{ float = [0.0, 0.3], step = 0.1 }", "0 0.1 0.2 0.3"),
        ("{ float = [0.5, 0.5] }", "0.5"),
        ("{ float = [0.0, 1.0] }", ""),
        ("{ int = [3, 8], step = 2 }", "3 5 7"),
        ("{ choice = [\"adam\", 3] }", "adam 3"),
        ("{ bool = true }", "false true"),
        ("{ fixed = 4 }", "4"),
    ] {
        let domain = parse(text).expect(text);
        let all: Vec<ParamValue> = (0..).map_while(|index| domain.value(index)).collect();
        assert!(all.iter().all(|value| domain.contains(value)), "{text}: {all:?}");
        assert_eq!(all.iter().map(ParamValue::to_string).collect::<Vec<_>>().join(" "), values, "{text}");
    }
}

#[test]
fn grid_sizes() {
    for (text, count) in [
        ("{ float = [0, 1] }", 5),
        ("{ float = [0.5, 0.5] }", 1),
        ("{ float = [0.0, 0.9], step = 0.1 }", 10),
        ("{ int = [1, 100], log = true }", 5),
        ("{ int = [1, 3], log = true }", 3),
        ("{ int = [1, 100] }", 100),
        ("{ fixed = 1 }", 1),
    ] {
        assert_eq!(parse(text).expect(text).grid_len(5), count, "{text}");
    }
    let wide = space("a = { int = [0, 9007199254740991] }\nb = { int = [0, 9007199254740991] }");
    assert_eq!(Grid::new(&wide, 5).count(u64::MAX), None);
    let billion = space("a = { int = [1, 1000000000] }");
    assert_eq!(Grid::new(&billion, 5).count(1_000_000), None);
    assert_eq!(Grid::new(&billion, 5).count(1_000_000_000), Some(1_000_000_000));
}

const BRANCHES: &str = "
    optimizer = { choice = [\"adam\", \"sgd\", \"plain\"] }
    momentum = { float = [0.0, 1.0], when = { optimizer = \"sgd\" } }
    nesterov = { bool = true, when = { optimizer = \"sgd\" } }
    damping = { fixed = 0.5, when = { nesterov = false, optimizer = [\"sgd\", \"adam\"] } }
    beta = { choice = [0.9, 0.99], when = { optimizer = \"adam\" } }";

/// The params in order as JSON.
fn show(params: &Params) -> String {
    serde_json::to_string(params).expect("JSON")
}

#[test]
fn a_grid_has_every_branch_once() {
    let space = space(BRANCHES);
    assert_eq!(
        space.in_order(),
        ["optimizer", "beta", "momentum", "nesterov", "damping"].map(String::from).iter().collect::<Vec<_>>()
    );
    let grid = Grid::new(&space, 2);
    assert_eq!(grid.count(100), Some(7));
    assert_eq!(grid.count(6), None);
    let all: Vec<String> = (0..).map_while(|index| grid.params(index)).map(|params| show(&params)).collect();
    assert_eq!(
        all,
        [
            r#"{"beta":0.9,"optimizer":"adam"}"#,
            r#"{"beta":0.99,"optimizer":"adam"}"#,
            r#"{"damping":0.5,"momentum":0.0,"nesterov":false,"optimizer":"sgd"}"#,
            r#"{"damping":0.5,"momentum":1.0,"nesterov":false,"optimizer":"sgd"}"#,
            r#"{"momentum":0.0,"nesterov":true,"optimizer":"sgd"}"#,
            r#"{"momentum":1.0,"nesterov":true,"optimizer":"sgd"}"#,
            r#"{"optimizer":"plain"}"#,
        ]
    );
    for index in 0..7 {
        assert_eq!(space.check(&grid.params(index).expect("a combination")), Ok(()));
    }
}

#[test]
fn params_that_are_none_of_the_space() {
    let space = space(BRANCHES);
    for (params, part) in [
        (r#"{"optimizer":"adam"}"#, "`beta` is missing; it must be one of 0.9, 0.99"),
        (r#"{"optimizer":"adam","beta":0.95}"#, "`beta` cannot be 0.95, a number; it must be one of"),
        (
            r#"{"optimizer":"plain","beta":0.9}"#,
            "`beta` is not there when `optimizer` is plain; leave it out",
        ),
        (r#"{"optimizer":"plain","damping":0.5}"#, "`damping` is not there when there is no `nesterov` and"),
        (r#"{"optimizer":"plain","alpha":1}"#, "`alpha` is no param of this study; there are: beta, "),
        (r#"{"optimizer":"sgd","nesterov":true,"momentum":1.5}"#, "it must be a number from 0 to 1"),
        (r#"{}"#, "`optimizer` is missing"),
    ] {
        let error = space.check(&serde_json::from_str(params).expect(params)).expect_err(params);
        assert!(error.contains(part), "{params}: {error}");
    }
}

#[test]
fn conditions_that_cannot_work() {
    let head =
        "o = { choice = [\"a\", \"b\"] }\nf = { float = [0.0, 1.0] }\nl = { choice = [[1, 2], [3]] }\n";
    for (text, part) in [
        (
            "p = { bool = true, when = { q = 1 } }",
            "asks for `q`, which is no param of this space (f, l, o, p)",
        ),
        ("p = { bool = true, when = { o = \"c\" } }", "asks for `o` to be c, but it can only be one of a, b"),
        ("p = { bool = true, when = { o = [\"a\", \"c\"] } }", "asks for `o` to be c"),
        ("p = { bool = true, when = { o = [] } }", "no value of `o` at all"),
        ("p = { bool = true, when = { f = 0.5 } }", "`f`, a real number"),
        ("p = { bool = true, when = { p = true } }", "the conditions of `p` form a loop"),
        (
            "p = { bool = true, when = { q = true } }\nq = { bool = true, when = { r = true } }\n\
             r = { bool = true, when = { q = true } }",
            "the conditions of `q`, `r` form a loop",
        ),
    ] {
        let error = space(&format!("{head}{text}")).check_conditions().expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    // A list that is itself a value is that value.
    let lists = space(&format!("{head}p = {{ bool = true, when = {{ l = [1, 2] }} }}"));
    assert_eq!(lists.check_conditions(), Ok(()));
    let with = |l: &str| serde_json::from_str::<Params>(&format!("{{\"l\":{l}}}")).expect("params");
    assert!(lists.has("p", &with("[1,2]")) && !lists.has("p", &with("[3]")));
}

#[test]
fn contains_its_values_only() {
    let domain = parse("{ float = [0.0, 0.5], step = 0.1 }").expect("a domain");
    assert!(domain.contains(&ParamValue::Float(0.1 + 0.2)));
    assert!(!domain.contains(&ParamValue::Float(0.25)));
    assert!(!domain.contains(&ParamValue::Float(0.6)));
    let domain = parse("{ int = [128, 256], step = 8 }").expect("a domain");
    assert!(domain.contains(&ParamValue::Int(136)));
    assert!(!domain.contains(&ParamValue::Int(130)));
    assert!(!domain.contains(&ParamValue::Float(136.0)));
}

#[test]
fn numbers_as_their_domains_have_them() {
    let space = space(
        "a = { float = [0, 9] }\nb = { int = [0, 9] }\nc = { choice = [1, 2.5, \"x\"] }\nd = { fixed = 4 }\ne = { bool = true }",
    );
    let typed = |name: &str, value: ParamValue| {
        let params = space.typed(Params::from([(name.to_owned(), value)]));
        params.into_values().next().expect("as many as before")
    };
    use ParamValue::{Bool, Float, Int, Text};
    for (name, value, expected) in [
        ("a", Int(3), Float(3.0)),
        ("b", Float(3.0), Int(3)),
        ("b", Float(3.5), Float(3.5)),
        ("b", Float(1e300), Float(1e300)),
        ("b", Float(f64::NAN), Float(f64::NAN)),
        ("c", Float(1.0), Int(1)),
        ("c", Text("x".into()), Text("x".into())),
        ("d", Float(4.0), Int(4)),
        ("e", Bool(true), Bool(true)),
        ("unknown", Int(1), Int(1)),
    ] {
        assert_eq!(format!("{:?}", typed(name, value)), format!("{expected:?}"), "{name}");
    }
}
