"""Scores: plain functions over arrays.

`score` computes any or all scores of a representation; each is also a function of its own:

    dci                 dci                         disentanglement, completeness, informativeness
    information_gap     mig, rmig, dcimig           gaps of mutual information
    modularity          modularity, explicitness
    sap                 sap
    fixed_factor        beta_vae, factor_vae        need a crossed design
    irs                 irs                         needs a crossed design
    infomec             infomec                     InfoM, InfoC, InfoE
    correlation         mcc
    r2                  r2
    mic                 mic, characteristic_matrix  MIC and TIC
    graphs              structural_hamming_distance, structural_intervention_distance
    generativeness      interventional_scores       what do(latent) does to predicted factors
    downstream          sample_efficiency, distributional_robustness
    retrieval           action_retrieval
    interventions       intervention_scores
    codes               code_usage and what each code knows
    factor_predictor    reads factors of images
"""

from cdis.metrics.scoring import METRICS, score, table

__all__ = ["METRICS", "score", "table"]
