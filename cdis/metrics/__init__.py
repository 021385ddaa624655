"""Metrics: plain functions over arrays.

`score` computes any or all of the metrics in `METRICS` for a representation; `table` prints its
result and `metrics_help` describes the metrics. Each of them is also a function of its own, in the
module that `METRICS` names. Further functions for users:

    mic                  characteristic_matrix: MIC and TIC of two vectors
    graphs               structural_hamming_distance, structural_intervention_distance
    causal_interventions intervention_scores: do() on factors that cause one another
    graph_regression     fit: counterfactuals of factors estimated from labels and a graph
    generativeness       extreme_interventions, interventional_scores: do() on single latents
    interventions        intervention_scores: one-step actions on factors
    labelled_latents     labelled_latents: one latent per factor
    downstream           synthetic_label, sample_efficiency, distributional_robustness
    retrieval            action_retrieval
    codes                code_usage, node_factor_information, specialisation
    factor_predictor     factor_predictor, factor_scores: factors predicted from images
    intervals            confidence intervals of means and proportions
"""

from cdis.metrics.scoring import METRICS, metrics_help, score, table

__all__ = ["METRICS", "metrics_help", "score", "table"]
