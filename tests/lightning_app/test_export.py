"""The verb `export` against the network that it writes."""

from types import SimpleNamespace

import pytest
import torch

import models
from lightning_app.cli import main
from lightning_app.export import spatial_size

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
SMALL = [
    *("--data.size=32", "--data.num_cases=[2,2,2]", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"),
    *("--model.net=models.UNet", "--model.net.width=4", "--model.net.depth=2", "--trainer.logger=false"),
]


def test_file_says_what_the_checkpoint_says(tmp_path, capsys):
    args = ["fit", *SMALL, "--trainer.max_epochs=1", f"--runs_dir={tmp_path}", "--run_name=a"]
    checkpoint = main(args).run_folder.checkpoint("best")
    main(["export", f"--ckpt_path={tmp_path / 'a'}", "--size=[16,24]", f"--output={tmp_path / 'out' / 'net.onnx'}"])
    assert "largest difference" in capsys.readouterr().out
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    weights = {name.removeprefix("net."): value for name, value in weights.items() if name.startswith("net.")}
    channels = next(value.shape[1] for value in weights.values() if value.ndim == 4)
    net, image = models.UNet(2, channels, 2, width=4, depth=2).eval(), torch.randn(3, channels, 16, 24)
    net.load_state_dict(weights)
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "net.onnx"))
    found = session.run(None, {"image": image.numpy()})[0]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), net(image), atol=1e-4, rtol=1e-3)


def test_size_is_the_one_asked_for_then_the_windows_the_patches_the_images():
    data = SimpleNamespace(spatial_dims=2, patch_size=[24, 16], size=32)
    tiled = SimpleNamespace(inference=models.SlidingWindow([8, 12]))
    whole = SimpleNamespace(inference=models.TestTimeAugmentation())
    assert spatial_size(tiled, data, [4, 4]) == (4, 4)
    assert spatial_size(tiled, data, None) == (8, 12)
    assert spatial_size(whole, data, None) == (24, 16)
    assert spatial_size(whole, SimpleNamespace(spatial_dims=2, size=32), None) == (32, 32)
    with pytest.raises(ValueError, match="needs --size"):
        spatial_size(whole, SimpleNamespace(spatial_dims=2, size=None), None)
    with pytest.raises(ValueError, match="give 2 positive sizes"):
        spatial_size(whole, data, [4, 4, 4])


def test_checkpoint_is_needed(capsys):
    with pytest.raises(SystemExit):
        main(["export", *SMALL])
    assert "export needs --ckpt_path" in capsys.readouterr().err
