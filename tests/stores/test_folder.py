"""Folders of logs without checkpoints, as trackers and trainers leave them."""

import json
import sqlite3

import numpy as np
import pandas as pd
import pytest

from hmmdyn import scan
from hmmdyn.checkpoints.find.walking import walked
from hmmdyn.errors import LayoutError, NoCheckpointsError
from hmmdyn.stores import read_run_logs
from tests.stores.wandb_files import written

STEPS = (0, 10, 20, 30)


def write(root, path, text):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def norm(seed, step):
    return 10 + seed + (step / 10) ** 2


def loss(seed, step):
    return 2.0 + seed - step / 20


def table(seed, metric="l2", outcome="eval_loss", steps=STEPS, step="step"):
    rows = [f"{s},{norm(seed, s)},{loss(seed, s)}" for s in steps]
    return "\n".join([f"{step},{metric},{outcome}", *rows, ""])


def read(root, **asked):
    return read_run_logs(walked(root), **asked)


def csv_per_seed(root):
    for seed in (0, 1):
        write(root, f"adam_wd1_seed_{seed}.csv", table(seed))


def csv_per_folder(root):
    for seed in (0, 1):
        write(root, f"adam/seed{seed}/metrics.csv", table(seed))


def parts_of_a_run(root):
    for seed in (0, 1):
        whole = pd.read_csv(write(root, "whole.csv", table(seed)))
        (root / "whole.csv").unlink()
        norms = whole[["step", "l2"]].to_csv(index=False)
        write(root, f"adam/seed{seed}/norms.csv", norms)
        write(root, f"adam/seed{seed}/scores.csv", whole[["step", "eval_loss"]].to_csv(index=False))


def json_lines(root):
    for seed in (0, 1):
        rows = [{"step": s, "l2": norm(seed, s), "eval_loss": loss(seed, s)} for s in STEPS]
        write(root, f"adam/seed{seed}/log.jsonl", "\n".join(map(json.dumps, rows)))


def one_table(root):
    frames = []
    for seed in (0, 1):
        frame = pd.read_csv(write(root, "x.csv", table(seed)))
        frames.append(frame.assign(seed=seed, group="adam"))
    (root / "x.csv").unlink()
    pd.concat(frames).to_parquet(root / "all.parquet")


def wandb_panels(root):
    for metric, value in (("l2", norm), ("eval_loss", loss)):
        frame = pd.DataFrame({"Step": STEPS})
        for seed in (0, 1):
            frame[f"seed{seed} - {metric}"] = [value(seed, s) for s in STEPS]
            frame[f"seed{seed} - {metric}__MIN"] = frame[f"seed{seed} - {metric}"]
            frame[f"seed{seed} - {metric}__MAX"] = frame[f"seed{seed} - {metric}"]
        frame.to_csv(root / f"wandb_export_{metric}.csv", index=False)


def trainer_states(root):
    for seed in (0, 1):
        rows = []
        for step in STEPS:
            rows.append({"step": step, "epoch": step / 100, "l2": norm(seed, step), "loss": 9.0})
            rows.append({"step": step, "eval_loss": loss(seed, step), "eval_runtime": 3.0})
            state = json.dumps({"log_history": rows})
            write(root, f"adam/seed{seed}/checkpoint-{step}/trainer_state.json", state)


def mlflow_files(root):
    for seed in (0, 1):
        run = f"mlruns/0/abc{seed}"
        write(root, f"{run}/meta.yaml", f"run_id: abc{seed}\nrun_name: seed{seed}\n")
        for metric, value in (("l2", norm), ("eval_loss", loss)):
            lines = [f"17000000000{i} {value(seed, s)} {s}" for i, s in enumerate(STEPS)]
            write(root, f"{run}/metrics/{metric}", "\n".join(lines) + "\n")
        write(root, f"{run}/params/seed", str(seed))


def mlflow_database(root):
    with sqlite3.connect(root / "mlflow.db") as db:
        db.execute("CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan)")
        db.execute("CREATE TABLE runs (run_uuid, name, experiment_id)")
        db.execute("CREATE TABLE params (key, value, run_uuid)")
        for seed in (0, 1):
            db.execute("INSERT INTO runs VALUES (?, ?, 0)", (f"abc{seed}", f"seed{seed}"))
            db.execute("INSERT INTO params VALUES ('seed', ?, ?)", (str(seed), f"abc{seed}"))
            for s in STEPS:
                for metric, value in (("l2", norm), ("eval_loss", loss)):
                    row = (metric, value(seed, s), s, f"abc{seed}", s, 0)
                    db.execute("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", row)
    db.close()


def trackio(root):
    with sqlite3.connect(root / "project.db") as db:
        db.execute(
            "CREATE TABLE metrics (id INTEGER PRIMARY KEY, timestamp, run_name, step, metrics)"
        )
        db.execute("CREATE TABLE configs (id INTEGER PRIMARY KEY, run_name, config, created_at)")
        for seed in (0, 1):
            config = (f"seed{seed}", json.dumps({"seed": seed, "lr": 0.1}))
            db.execute("INSERT INTO configs (run_name, config) VALUES (?, ?)", config)
            for s in STEPS:
                values = json.dumps({"l2": norm(seed, s), "eval_loss": loss(seed, s)})
                row = (f"seed{seed}", s, values)
                db.execute("INSERT INTO metrics (run_name, step, metrics) VALUES (?, ?, ?)", row)
    db.close()


def dvclive(root):
    for seed in (0, 1):
        for path, value in (("l2", norm), ("eval/loss", loss)):
            rows = "".join(f"{s}\t{value(seed, s)}\n" for s in STEPS)
            name = path.rsplit("/", maxsplit=1)[-1]
            write(root, f"seed{seed}/dvclive/plots/metrics/{path}.tsv", f"step\t{name}\n{rows}")
        write(root, f"seed{seed}/dvclive/metrics.json", '{"l2": 1.0, "step": 30}')


def tensorboard(root):
    pytest.importorskip("tensorboard")
    from tests.checkpoints.logs.test_event_file import simple
    from tests.checkpoints.logs.test_event_file import write as write_events

    for seed in (0, 1):
        values = (
            (s, simple("l2", norm(seed, s)), simple("eval_loss", loss(seed, s))) for s in STEPS
        )
        write_events(root / f"adam/seed{seed}", *values)


def lightning(root):
    for seed in (0, 1):
        rows = ["epoch,eval_loss,l2,step"]
        for s in STEPS:
            rows += [f"0,,{norm(seed, s)},{s}", f"0,{loss(seed, s)},,{s}"]
        write(root, f"seed{seed}/lightning_logs/version_0/metrics.csv", "\n".join(rows))
        write(root, f"seed{seed}/lightning_logs/version_0/hparams.yaml", "lr: 0.1\n")


def wandb_offline(root):
    for seed in (0, 1):
        history = [{"_step": s, "l2": norm(seed, s), "eval/loss": loss(seed, s)} for s in STEPS]
        folder = f"wandb/offline-run-2026113{seed}_000907-yxo6qr6{seed}"
        run = written(f"yxo6qr6{seed}", f"seed{seed}", history, group="adam", seed=seed)
        write(root, f"{folder}/run-yxo6qr6{seed}.wandb", "").write_bytes(run)
        printed = "".join(f"step {s} loss {loss(seed, s)}\n" for s in STEPS)
        write(root, f"{folder}/files/output.log", printed)


FORMATS = {
    "a CSV file per seed": csv_per_seed,
    "a folder per seed": csv_per_folder,
    "several tables per run": parts_of_a_run,
    "JSON lines per seed": json_lines,
    "one Parquet table": one_table,
    "exported panels of Weights & Biases": wandb_panels,
    "trainer states of Hugging Face": trainer_states,
    "folders of Weights & Biases, sent or offline": wandb_offline,
    "MLflow's store of files": mlflow_files,
    "MLflow's database": mlflow_database,
    "Trackio's database": trackio,
    "DVCLive": dvclive,
    "TensorBoard": tensorboard,
    "Lightning's CSV logger": lightning,
}


@pytest.mark.parametrize("name", FORMATS)
def test_folders_read_as_the_same_runs(tmp_path, name):
    root = tmp_path / "runs"
    root.mkdir()
    FORMATS[name](root)
    found = read(root)
    assert found.metrics == ("l2",)
    assert set(found.outcomes) - {"loss"} in ({"eval_loss"}, {"eval/loss"})
    (outcome,) = set(found.outcomes) - {"loss"}
    assert [run.replace("_", "") for run in found.runs["run"]] == ["seed0", "seed1"]
    for seed, (_, rows) in enumerate(found.table.groupby("run")):
        assert rows["step"].tolist() == list(STEPS)
        assert rows["l2"].tolist() == pytest.approx([norm(seed, s) for s in STEPS], rel=1e-6)
        assert rows[outcome].tolist() == pytest.approx([loss(seed, s) for s in STEPS], rel=1e-6)
    assert found.notices[0].message.startswith("No checkpoints were found, but ")


@pytest.mark.parametrize("seeds", [(0, 1), (None, None), (0, 0)])
def test_runs_of_one_name_at_weights_and_biases_are_two(tmp_path, seeds):
    for number, seed in enumerate(seeds):
        history = [{"_step": s, "l2": norm(number, s)} for s in STEPS]
        run = written(f"id{number}", "base", history, group="", seed=seed)
        write(tmp_path, f"runs/wandb/offline-run-2{number}/x.wandb", "").write_bytes(run)
    found = read(tmp_path / "runs")
    names = ["seed0", "seed1"] if seeds == (0, 1) else ["id0", "id1"]
    assert found.runs["run"].tolist() == [f"base-{name}" for name in names]
    assert found.table["l2"].tolist() == [norm(n, s) for n in (0, 1) for s in STEPS]


def test_groups_come_from_the_paths(tmp_path):
    for group in ("adam", "sgd"):
        for seed in (0, 1):
            write(tmp_path, f"{group}_seed{seed}.csv", table(seed))
    assert read(tmp_path).runs.to_numpy().tolist() == [
        ["adam", "seed0", 0],
        ["adam", "seed1", 1],
        ["sgd", "seed0", 0],
        ["sgd", "seed1", 1],
    ]


def test_files_without_seeds_are_runs_by_name(tmp_path):
    for seed, name in enumerate(("first", "second")):
        write(tmp_path, f"{name}.csv", table(seed))
    assert read(tmp_path).runs["run"].tolist() == ["first", "second"]


def test_spinning_up_and_seeds_by_number(tmp_path):
    for seed in (0, 10):
        rows = [f"{i}\t{float(i)}\t{1.0}\t{4000 * i}\t{i * 3.0}" for i in range(1, 4)]
        header = "Epoch\tAverageEpRet\tStdEpRet\tTotalEnvInteracts\tTime"
        write(tmp_path, f"ppo/ppo_s{seed}/progress.txt", "\n".join([header, *rows]))
        write(tmp_path, f"ppo/ppo_s{seed}/config.json", '{"seed": 0}')
    found = read(tmp_path, metrics=["StdEpRet"])
    assert found.runs["seed"].tolist() == [0, 10]
    assert found.outcomes == ("AverageEpRet",)
    assert found.table["step"].tolist() == [4000, 8000, 12000] * 2


def test_stable_baselines3(tmp_path):
    for run in (1, 2):
        folder = tmp_path / "ppo" / f"CartPole-v1_{run}"
        rows = [f"{s},{s / 10},{0.1 / s},{500 + s}" for s in (2048, 4096, 6144)]
        header = "time/total_timesteps,rollout/ep_rew_mean,train/approx_kl,time/fps"
        write(folder, "progress.csv", "\n".join([header, *rows]))
        results = np.array([[1.0, 3.0], [5.0, 7.0]]) + run
        np.savez(folder / "evaluations.npz", timesteps=[2000, 4000], results=results)
    found = read(tmp_path)
    assert found.metrics == ("train/approx_kl",)
    assert set(found.outcomes) == {"rollout/ep_rew_mean", "eval/mean_reward"}
    assert found.runs[["group", "seed"]].to_numpy().tolist() == [
        ["ppo/CartPole-v1", 1],
        ["ppo/CartPole-v1", 2],
    ]
    first = found.table[found.table["run"] == "CartPole-v1_1"]
    assert first["step"].tolist() == [2048, 4096, 6144]
    assert first["eval/mean_reward"].tolist()[1:2] == [7.0]
    assert "other steps than the metrics" in found.notices[-1].message


def test_a_resumed_run_goes_on_and_a_run_begun_anew_is_another(tmp_path):
    for version, steps in ((0, (0, 10, 20)), (1, (20, 30))):
        write(
            tmp_path, f"seed0/lightning_logs/version_{version}/metrics.csv", table(0, steps=steps)
        )
    assert read(tmp_path).table["step"].tolist() == [0, 10, 20, 30]
    write(tmp_path, "seed0/lightning_logs/version_1/metrics.csv", table(1))
    with pytest.raises(LayoutError, match="one run begun anew, or two"):
        read(tmp_path)


def test_training_and_evaluation_in_two_files(tmp_path):
    for seed in (0, 1):
        for part in ("train", "eval"):
            write(
                tmp_path, f"seed{seed}/{part}.csv", f"step,loss\n0,{seed}\n10,{part == 'eval':d}\n"
            )
        write(tmp_path, f"seed{seed}/norms.csv", "step,l2\n0,1\n10,2.5\n")
    assert set(read(tmp_path).outcomes) == {"train/loss", "eval/loss"}


@pytest.mark.parametrize("name", ["seed{}_{}", "{1}-seed{0}", "adam.seed{}.{}"])
def test_files_that_differ_in_the_part_of_the_data_alone(tmp_path, name):
    for seed in (0, 1):
        for part in ("train", "test"):
            write(
                tmp_path, f"{name.format(seed, part)}.csv", f"step,loss\n0,2\n10,{part == 'test':d}"
            )
    found = read(tmp_path)
    assert found.runs["run"].tolist() == ["seed0", "seed1"]
    assert set(found.outcomes) == {"train/loss", "test/loss"}
    assert found.table["test/loss"].tolist() == [2.0, 1.0] * 2


@pytest.mark.parametrize(
    "name", ["run-seed{}-tag-{}", "seed{}/{}", "{1}_seed{0}", "seed{}/train/{}"]
)
def test_files_of_one_value_are_called_by_their_quantity(tmp_path, name):
    for seed in (0, 1):
        for quantity, value in (("loss", loss), ("l2", norm)):
            rows = "".join(f"{1.7e9 + s},{s},{value(seed, s)}\n" for s in STEPS)
            write(tmp_path, f"{name.format(seed, quantity)}.csv", f"Wall time,Step,Value\n{rows}")
    found = read(tmp_path)
    assert found.metrics == ("l2",)
    assert found.outcomes == (("train/loss",) if "train" in name else ("loss",))
    assert found.runs["run"].tolist() == ["seed0", "seed1"]


def test_what_is_no_log_is_passed_over_and_what_is_broken_is_named(tmp_path):
    csv_per_seed(tmp_path)
    write(tmp_path, "README.txt", "These are the runs of a paper.\n")
    write(tmp_path, "config.json", '{"lr": 0.1}')
    write(tmp_path, "broken.csv", 'step,l2\n0,"1\n')
    write(tmp_path, "seeds.csv", "seed,final\n0,1\n")
    told = " ".join(n.message for n in read(tmp_path).notices)
    assert "broken.csv" in told
    assert "no step or epoch column: seeds.csv" in told
    assert "README" not in told
    assert "config.json" not in told


def test_another_column_may_count_training(tmp_path):
    for seed in (0, 1):
        write(tmp_path, f"seed{seed}.csv", table(seed, step="x"))
    assert read(tmp_path) is None
    assert read(tmp_path, step_column="x").table["step"].tolist() == [*STEPS] * 2


def test_a_folder_without_logs(tmp_path):
    write(tmp_path, "notes.txt", "nothing\n")
    assert read(tmp_path) is None
    with pytest.raises(NoCheckpointsError, match=r"holds no checkpoints.*one per run"):
        scan(tmp_path)


def test_a_hostile_database_is_only_read(tmp_path):
    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("CREATE TABLE t (a)")
        db.execute(
            "CREATE VIEW metrics AS SELECT 1 AS run_name, 2 AS step, load_extension('x') AS metrics"
        )
    db.close()
    assert read(tmp_path) is None
    trackio(tmp_path)
    data = bytearray((tmp_path / "project.db").read_bytes())
    data[4096:4200] = b"\xff" * 104
    (tmp_path / "project.db").write_bytes(data)
    assert read(tmp_path) is None


def test_runs_that_have_no_metric(tmp_path):
    for seed in (0, 1):
        write(tmp_path, f"seed{seed}.csv", "step,loss\n0,2\n10,1\n")
    found = read(tmp_path)
    assert (found.metrics, found.outcomes) == ((), ("loss",))
    assert found.table["loss"].tolist() == [2.0, 1.0] * 2
