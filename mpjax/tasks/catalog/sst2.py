"""SST-2: is a film review's sentence positive?"""

from mpjax.tasks.glue.task import GlueTask

TASK = GlueTask("sst2", "classification", ("negative", "positive"), folder="SST-2")
