"""Minimizes the Branin function with eight trials open at once: 11 searches of 100 trials, each with a seed of its own.

Any language that has gRPC can do this. Here grpcio reads the .proto files itself:
    pip install grpcio-tools
    foldwise serve --db branin.db & python3 deploy/examples/branin.py 127.0.0.1:7654
"""
import collections, math, pathlib, statistics, sys
import grpc

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "proto" / "proto"))
pb, services = grpc.protos_and_services("foldwise/v1/study.proto")


def branin(x, y):
    bent = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bent**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def search(studies, seed):
    name, best, asked = f"branin-{seed}", math.inf, collections.deque()
    settings = [f"study.name={name}", f"study.seed={seed}"]
    study = pb.CreateStudyRequest(spec=(HERE / "branin.toml").read_text(), overrides=settings)
    studies.CreateStudy(study, wait_for_ready=True)
    while True:
        try:
            while len(asked) < 8:
                asked.append(studies.Ask(pb.AskRequest(study=name)))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            if not asked:  # nothing is left to ask for, and all is told
                return best
        trial = asked.popleft()
        value = branin(trial.params["x"].real, trial.params["y"].real)
        studies.Tell(pb.TellRequest(study=name, trial=trial.trial, lease=trial.lease, value=value))
        best = min(best, value)


with grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7654") as channel:
    regrets = [search(services.StudyServiceStub(channel), seed) - 0.397887 for seed in range(1, 12)]
    print(f"median regret of {len(regrets)} searches: {statistics.median(regrets):.6f}")
