-- MLflow's own database is made by the image. Optuna's is apart: both count their migrations in a
-- table of the same name.
CREATE DATABASE optuna;
