"""Either method on bars: cdis train --config experiment.py:triplets --workdir runs/triplets"""

from cdis.config import common, stage


def get_config(variant="adversarial"):
    config = common()
    config.method = variant  # adversarial.py or triplets.py in this folder
    config.data.name = "bars:bars/small"  # bars.py
    config.stages.only = stage(steps=2, batch_size=8, learning_rate=1e-2)
    config.model.width = 4
    config.model.adversary = 0.1
    return config
