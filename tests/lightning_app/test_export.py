"""The verb `export` against the network and calibrator that it writes."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import models
from lightning_app.calibration.registry import restore
from lightning_app.cli import main
from lightning_app.export import spatial_size

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.usefixtures("unpainted"),
]
SMALL = [
    *("--data.size=32", "--data.num_cases=[2,2,2]", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"),
    *("--model.net=models.UNet", "--model.net.width=4", "--model.net.depth=2", "--trainer.logger=false"),
]
TILES = [
    "--model.inference=models.SlidingWindow",
    "--model.inference.window=[16,24]",
    "--model.inference.padding=nearest",
]
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; import runpy; sys.argv = sys.argv[1:]; "
WITHOUT_TORCH += "runpy.run_path(sys.argv[0], run_name='__main__')"


def trained(folder, *options):
    """A run with a temperature in its checkpoint."""
    main(["fit", *SMALL, *options, "--trainer.max_epochs=1", f"--runs_dir={folder}", "--run_name=a"])
    main(["calibrate", f"--ckpt_path={folder / 'a'}", "--method=temperature", "--trainer.logger=false"])
    return torch.load(folder / "a" / "checkpoints" / "best.ckpt", weights_only=True)


def network(checkpoint):
    weights = {k.removeprefix("net."): v for k, v in checkpoint["state_dict"].items() if k.startswith("net.")}
    channels = next(value.shape[1] for value in weights.values() if value.ndim == 4)
    net = models.UNet(2, channels, 2, width=4, depth=2).eval()
    net.load_state_dict(weights)
    return net


def run_alone(file, image, folder):
    """What the copied runner says in a process that cannot import torch."""
    np.save(folder / "image.npy", image.numpy())
    script = file.with_name(f"{file.stem}_predict.py")
    call = [sys.executable, "-c", WITHOUT_TORCH, str(script), str(folder / "image.npy"), str(folder / "probs.npy")]
    subprocess.run(call, check=True, cwd=folder)
    return torch.from_numpy(np.load(folder / "probs.npy"))


def test_file_holds_the_network_and_its_calibrator(tmp_path, capsys):
    checkpoint = trained(tmp_path)
    file = tmp_path / "out" / "net.onnx"
    main(["export", f"--ckpt_path={tmp_path / 'a'}", "--size=[16,24]", f"--output={file}"])
    assert "temperature, in the file" in capsys.readouterr().out
    net, (calibrator, _) = network(checkpoint), restore(checkpoint)
    image = torch.randn(3, net.in_channels, 16, 24)
    logits, probs = onnxruntime.InferenceSession(str(file)).run(None, {"image": image.numpy()})
    with torch.no_grad():
        expected = net(image)
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-4, rtol=1e-3)
    calibrated = calibrator(expected.softmax(1))
    assert float((calibrated - expected.softmax(1)).abs().max()) > 1e-3  # else the next line proves nothing
    torch.testing.assert_close(torch.from_numpy(probs), calibrated, atol=1e-5, rtol=0)
    torch.testing.assert_close(run_alone(file, image[0], tmp_path), calibrated[0], atol=1e-5, rtol=0)


def test_tiles_are_blended_and_calibrated_as_predict_does_without_torch(tmp_path):
    checkpoint = trained(tmp_path, *TILES)
    file = tmp_path / "net.onnx"
    main(["export", f"--ckpt_path={tmp_path / 'a'}", f"--output={file}"])
    net, (calibrator, _) = network(checkpoint), restore(checkpoint)
    image = torch.randn(1, net.in_channels, 37, 20)  # larger than the window along one axis, smaller along the other
    probs = models.SlidingWindow([16, 24], padding="nearest")(image, net)
    found = run_alone(file, image[0], tmp_path)
    torch.testing.assert_close(found, calibrator(probs)[0], atol=1e-5, rtol=0)
    facts = json.loads((tmp_path / "net.json").read_text())
    assert len(facts["classes"]) == 2
    assert facts["method"] == "temperature"
    assert facts["calibrator"] == "net_calibrator.onnx"


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
