from mocoop.engine.lite.config import get_cfg_default

COOP_YAML = """
DATALOADER:
  TRAIN_X:
    BATCH_SIZE: 1
  TEST:
    BATCH_SIZE: 100
  NUM_WORKERS: 8
INPUT:
  SIZE: (224, 224)
  INTERPOLATION: "bicubic"
  PIXEL_MEAN: [0.48145466, 0.4578275, 0.40821073]
  TRANSFORMS: ["random_resized_crop", "random_flip", "normalize"]
OPTIM:
  NAME: "sgd"
  LR: 0.002
  MAX_EPOCH: 10
  LR_SCHEDULER: "cosine"
  WARMUP_EPOCH: 1
  WARMUP_TYPE: "constant"
  WARMUP_CONS_LR: 1e-5
TEST:
  FINAL_MODEL: "best_val"
MODEL:
  BACKBONE:
    NAME: "ViT-B/16"
"""


def test_a_yaml_file_in_coops_form_loads(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(COOP_YAML)
    cfg = get_cfg_default()
    cfg.merge_from_file(str(path))
    assert cfg.INPUT.SIZE == (224, 224)
    assert cfg.INPUT.TRANSFORMS == ("random_resized_crop", "random_flip", "normalize")
    assert cfg.OPTIM.WARMUP_CONS_LR == 1e-5
    assert cfg.DATALOADER.TRAIN_X.BATCH_SIZE == 1 and cfg.DATALOADER.TRAIN_U.BATCH_SIZE == 32


def test_command_line_overrides_load():
    cfg = get_cfg_default()
    cfg.merge_from_list(["DATASET.NUM_SHOTS", "16", "OPTIM.STEPSIZE", "(5, 8)", "DATALOADER.NUM_WORKERS", "0"])
    assert (cfg.DATASET.NUM_SHOTS, cfg.OPTIM.STEPSIZE, cfg.DATALOADER.NUM_WORKERS) == (16, (5, 8), 0)


def test_defaults_are_fresh_each_time():
    cfg = get_cfg_default()
    cfg.INPUT.PIXEL_MEAN.append(1.0)
    cfg.OPTIM.LR = 7.0
    assert get_cfg_default().INPUT.PIXEL_MEAN == [0.485, 0.456, 0.406]
    assert get_cfg_default().OPTIM.LR == 0.0003
