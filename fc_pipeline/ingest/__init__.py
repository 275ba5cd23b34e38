"""The main job: hub → raw log → fold, and raw log → fold. Joins the rooms; knows nothing of Dagster."""
