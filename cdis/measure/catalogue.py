"""Everything that cdis measures. To add a measurement, write a file and list it here."""

from cdis.measure import (
    action_graph,
    action_interventions,
    action_retrieval,
    codes,
    composite_actions,
    counterfactual_axioms,
    disentanglement,
    do_interventions,
    downstream,
    elbo,
    labelled_factors,
    labels_decoded,
    reconstruction,
    structure,
    unseen_combinations,
)

#: In the order of the page.
MEASUREMENTS = tuple(
    module.MEASUREMENT
    for module in (
        unseen_combinations,
        action_retrieval,
        action_interventions,
        composite_actions,
        labelled_factors,
        structure,
        elbo,
        reconstruction,
        labels_decoded,
        do_interventions,
        counterfactual_axioms,
        codes,
        action_graph,
        disentanglement,
        downstream,
    )
)
