//! What whoever watches sees counted.

use foldwise_shared::state::StudyState;

use super::scenario::check;

#[test]
fn everything_is_counted_once() {
    let mut scenario = check(
        |spec| spec.budget.trials = Some(2),
        "join a 2          => a trains 0/0#1, a trains 0/1#1
         join b 2          => b trains 0/2#1, b trains 1/0#1
         epoch a 0/0#1 0.5 => ok",
    );
    let census = scenario.census();
    assert_eq!((census.folds_running, census.folds_stopping, census.leases), (4, 0, 4));
    assert_eq!(census.folds_waiting, 2, "of two trials of three folds");
    assert_eq!((census.workers_connected, census.workers_silent), (2, 0));
    assert_eq!((census.slots, census.slots_free), (4, 0));
    let [study] = census.studies.as_slice() else { panic!("{census:?}") };
    assert_eq!((study.epochs, study.training, study.state), (1, 4, StudyState::Running));

    scenario.play("lost b =>");
    let census = scenario.census();
    assert_eq!((census.workers_connected, census.workers_silent), (1, 1));
    assert_eq!((census.slots, census.slots_free, census.leases), (2, 0, 4));

    scenario.play("pause => study paused");
    assert_eq!(scenario.census().folds_waiting, 0, "nothing is leased of a study that is paused");
}
