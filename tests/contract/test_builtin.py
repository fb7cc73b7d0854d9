"""Every built-in kind passes every check of its family."""

import subprocess
import sys

import pytest
from attrs import frozen

from dit_toolkit.autoencoders.identity import Identity
from dit_toolkit.backends.deepspeed import DeepSpeed
from dit_toolkit.backends.single import Single
from dit_toolkit.blocks.adaln import AdaLN
from dit_toolkit.blocks.adaln_zero import AdaLNZero
from dit_toolkit.blocks.cross_attention import CrossAttention
from dit_toolkit.blocks.in_context import InContext
from dit_toolkit.components import FAMILIES, family_of
from dit_toolkit.datasets.fashion import Fashion
from dit_toolkit.datasets.synthetic import Synthetic
from dit_toolkit.extractors.fashion import Fashion as Classifier
from dit_toolkit.extractors.pixels import Pixels
from dit_toolkit.metrics.class_accuracy import ClassAccuracy
from dit_toolkit.metrics.coverage import Coverage
from dit_toolkit.metrics.density import Density
from dit_toolkit.metrics.fid import FID
from dit_toolkit.metrics.frechet_distance import FrechetDistance
from dit_toolkit.metrics.inception_score import InceptionScore
from dit_toolkit.metrics.kid import KID
from dit_toolkit.metrics.memorisation import Memorisation
from dit_toolkit.metrics.precision import Precision
from dit_toolkit.metrics.recall import Recall
from dit_toolkit.metrics.sfid import SFID
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.edm import EDM
from dit_toolkit.objectives.flow_matching import RANGES, FlowMatching
from dit_toolkit.patchifiers.conv import Conv
from dit_toolkit.patchifiers.linear import Linear
from dit_toolkit.registry import Registry
from dit_toolkit.samplers.adaptive_ode import AdaptiveODE
from dit_toolkit.samplers.ddim import DDIMSampler
from dit_toolkit.samplers.ddpm import DDPMSampler
from dit_toolkit.samplers.dpm_solver_pp import DPMSolverPP
from dit_toolkit.samplers.euler import Euler
from dit_toolkit.samplers.euler_ancestral import EulerAncestral
from dit_toolkit.samplers.heun import Heun
from dit_toolkit.samplers.sde_euler import SDEEuler
from dit_toolkit.samplers.unipc import UniPC
from dit_toolkit.testing import checks_of, parametrize_with_checks
from dit_toolkit.testing.parametrize import describe
from dit_toolkit.trackers.csv import CSV
from dit_toolkit.trackers.tensorboard import TensorBoard
from tests.contract.material import DATASETS, EXTRACTORS, PRETRAINED, Quick

COMPONENTS = [
    AdaLNZero(),
    AdaLNZero(mlp_ratio=2.0, gelu="exact"),
    AdaLNZero(attention="math", dropout=0.2, attention_dropout=0.3),
    AdaLN(),
    AdaLN(qk_norm=True),
    InContext(),
    InContext(qk_norm=True, attention="sdpa"),
    CrossAttention(),
    CrossAttention(qk_norm=True, attention="math", mlp_ratio=1.5),
    Conv(),
    Conv(patch_size=(2, 4)),
    Conv(patch_size=1),
    Conv(patch_size=(4, 2), head="conv-transpose"),
    Linear(),
    Linear(patch_size=(2, 4), head="conv-transpose"),
    DDPM(),
    DDPM(learn_sigma=False),
    DDPM(beta_schedule="squared-cosine"),
    DDPM(target="v", zero_terminal_snr=True, weighting="min-snr", low_discrepancy=True),
    DDPM(target="x0", zero_terminal_snr=True, learn_sigma=False, weighting="p2"),
    DDPM(target="v", learn_sigma=False, beta_schedule="sigmoid", weighting="p2", p2_gamma=0.5),
    DDPM(learn_sigma=False, beta_schedule="scaled-linear", weighting="min-snr"),
    DDPM(num_timesteps=8, trained_betas=(0.001, 0.01, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)),
    EDM(),
    EDM(sigma_data=1.0, sigma_max=20.0, p_mean=-0.4, low_discrepancy=True),
    FlowMatching(),
    FlowMatching(target="x0", time_sampling="logit-normal", shift=3.0),
    *(FlowMatching(path=path, target=target) for path in ("linear", "gvp", "vp") for target in RANGES),
    FlowMatching(path="gvp", target="epsilon", weighting="uniform", shift=2.0, low_discrepancy=True),
    DDPMSampler(),
    DDPMSampler(variance="fixed-small"),
    DDPMSampler(variance="fixed-large", clip_x0=1.0),
    DDIMSampler(),
    DDIMSampler(eta=0.5, clip_x0=1.0),
    DDIMSampler(clip_x0=2.0, use_clipped_eps=False),
    DDIMSampler(spacing="log-snr"),
    Euler(),
    Euler(spacing="quadratic"),
    Euler(threshold=0.995, threshold_max=5.0),
    EulerAncestral(),
    EulerAncestral(eta=0.5, clip_x0=1.0),
    Heun(),
    Heun(spacing="karras", rho=3.0),
    Heun(s_churn=10.0, s_tmin=0.05, s_tmax=50.0, s_noise=1.003),
    DPMSolverPP(),
    DPMSolverPP(solver_order=1),
    DPMSolverPP(solver_type="heun", spacing="log-snr"),
    DPMSolverPP(solver_order=3, lower_order_final=False),
    DPMSolverPP(stochastic=True, clip_x0=1.0),
    DPMSolverPP(stochastic=True, solver_type="heun", spacing="karras"),
    DPMSolverPP(stochastic=True, solver_order=3),
    UniPC(),
    UniPC(solver_order=1, variant="bh1"),
    UniPC(solver_order=3, lower_order_final=False),
    UniPC(corrector=False, threshold=0.9),
    SDEEuler(),
    SDEEuler(diffusion="constant", norm=1.0, last_step="euler"),
    SDEEuler(diffusion="linear", last_step="tweedie"),
    SDEEuler(diffusion="decreasing", last_step_size=0.01),
    SDEEuler(diffusion="increasing-decreasing"),
    AdaptiveODE(),
    AdaptiveODE(rtol=1e-5, atol=1e-6),
    Identity(),
    Fashion(),
    Fashion(image_size=28, flip=True, split_seed=1),
    Synthetic(),
    Synthetic(latents=False, image_size=(16, 24), channels=1, num_classes=7, num_images=50),
    *DATASETS,
    Single(),
    *(DeepSpeed(zero_stage=stage) for stage in (0, 1, 2, 3)),
    DeepSpeed(zero_stage=2, offload="optimizer"),
    DeepSpeed(zero_stage=3, offload="all"),
    Classifier(),
    Pixels(),
    Pixels(size=5, grey=True),
    *EXTRACTORS,
    ClassAccuracy(),
    FrechetDistance(extractor=Classifier()),
    FID(extractor=Quick()),
    SFID(extractor=Quick()),
    KID(extractor=Classifier()),
    KID(extractor=Classifier(), subsets=5, subset_size=100),
    InceptionScore(extractor=Classifier()),
    Precision(extractor=Classifier()),
    Recall(extractor=Classifier()),
    Density(extractor=Classifier()),
    Coverage(extractor=Classifier(), k=3),
    Memorisation(),
    CSV(),
    TensorBoard(),
]


@parametrize_with_checks(COMPONENTS)
def test_contract(component, check):
    check(component)


@parametrize_with_checks(PRETRAINED, expected_failures={"check_decoded_images_are_like_the_images": "random weights"})
def test_contract_of_what_was_never_trained(component, check):
    check(component)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_built_in_kind_is_listed(family):
    listed = {component.kind for component in [*COMPONENTS, *PRETRAINED] if family_of(type(component)) == family}
    assert listed == set(Registry(discover=False).kinds(family))


def test_ids_name_the_options_that_are_not_defaults():
    assert [describe(c) for c in (Heun(), Heun(num_steps=3))] == ["Heun()", "Heun(num_steps=3)"]
    ids = [param.id for param in parametrize_with_checks([Heun(num_steps=3)]).args[1]]
    assert "Heun(num_steps=3)-deterministic" in ids


def test_an_expected_failure_is_a_strict_xfail_of_a_check_that_exists():
    mark = parametrize_with_checks([Heun()], expected_failures={"check_calls": "adaptive"})
    [param] = [param for param in mark.args[1] if param.marks]
    assert (param.id, param.marks[0].kwargs) == ("Heun()-calls", {"reason": "adaptive", "strict": True})
    with pytest.raises(ValueError, match="no check named cals; there are calls"):
        parametrize_with_checks([Heun()], expected_failures={"cals": "adaptive"})


def test_a_class_is_refused_and_so_is_what_is_no_component():
    with pytest.raises(TypeError, match=r"write Heun\(\.\.\.\)"):
        checks_of(Heun)
    with pytest.raises(TypeError, match="not a component"):
        checks_of(frozen(type("Plain", (), {}))())


def test_importing_the_checks_imports_no_torch():
    code = "import sys, dit_toolkit.testing; assert not {'torch', 'pytest', 'deepspeed'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
