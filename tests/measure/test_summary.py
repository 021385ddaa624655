"""Headlines on the terminal."""

from cdis.measure import headlines


def _words(metrics):
    return [" ".join(line.split()) for line in headlines(metrics)]


def test_headlines_leave_out_what_was_not_measured():
    assert headlines({"step": 3}) == []
    lines = _words(
        {
            "action_retrieval": {
                "directed": 0.97,
                "directed_interval": [0.95, 0.98],
                "undirected": 0.98,
                "undirected_interval": [0.96, 0.99],
                "chance_directed": 0.1,
                "chance_undirected": 0.2,
                "num_pairs": 1190,
            },
            "timing": {"train_seconds": 61.4, "retrieval_pairs_per_second": 2345.6},
        }
    )
    assert lines == [
        "action retrieval, directed 0.970 [0.950, 0.980], 1,190 pairs, chance 0.10",
        "action retrieval, undirected 0.980 [0.960, 0.990], 1,190 pairs, chance 0.20",
        "pairs retrieved per second 2,346",
        "training time 1:01 min:s, including compilation",
    ]


def test_headlines_are_aligned():
    lines = headlines({"elbo": 12345.6, "reconstruction": {"mse": 0.00015}})
    assert lines == [
        "ELBO                   12,346  nats per image",
        "reconstruction error  0.00015  mean square, pixels in [0, 1]",
    ]


def test_headlines_of_causal_factors():
    scores = {"hit": 0.99, "propagation": None, "drift": 0.04}
    worst = {"few_labels": {"worst_group": 0.9625}}
    lines = _words(
        {
            "factors": {"r2_worst": 0.9912, "mcc": 0.999},
            "interventions": {"do_light": scores | {"propagation": 0.97}, "do_shade": scores},
            "structure": {"shd": 1, "extra": 1, "missing": 0},
            "downstream": {
                "sample_efficiency": {"all": {"few": 100}},
                "likelier_label": {"robustness": {"all": worst, "true_factors": worst}},
            },
        }
    )
    assert lines == [
        "R² of the worst labelled latent 0.9912 MCC 0.9990",
        "SHD to the true graph 1 edges: 1 extra, 0 missing",
        "do(light): R² of light 0.990 propagation 0.970, drift 0.040",
        "do(shade): R² of shade 0.990 drift 0.040",
        "worst group, misleading tint, 100 labels 0.963 true factors 0.963",
    ]
    assert headlines({"structure": {}, "downstream": {"reason": "too few"}}) == []


def test_headlines_of_scores():
    scores = {
        "dci": {"scores": {"disentanglement": 0.5}, "perfect": {"disentanglement": 1.0}},
        "mig": {"scores": {"score": 0.25}, "perfect": {"score": 0.9}},
    }
    section = {"split": "all", "vectors": {"metrics": scores}, "codes": {"reason": "constant"}}
    assert _words({"disentanglement": section}) == [
        "DCI disentanglement of vectors 0.500 perfect codes 1.000",
        "MIG of vectors 0.250 perfect codes 0.900",
    ]
