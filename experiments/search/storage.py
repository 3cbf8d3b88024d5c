"""The database of Optuna's studies: opened in seconds or refused, then waited for in an outage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import optuna
from optuna.storages import BaseStorage
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from experiments.search.schema import FAILURES, broken, opened
from lrm.errors import BadInput
from tracking.address import no_driver, with_driver
from tracking.lock import store_lock
from tracking.provenance import redact, redact_address
from tracking.retry import Retry

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def open_storage(address: str, folder: Path) -> Iterator[RetryingStorage]:
    """The storage at a database's address; tables are made if they are missing.

    Inside the block, in which a study is to be opened, this process has the storage's lock, in
    `folder` or in the database. The storage serves after it too, until it is closed. Raises
    BadInput or MissingExtra for an address that is none and for a database that cannot be opened,
    also where an error in the block says so.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    uri = with_driver(address)
    try:
        with store_lock(uri, folder):
            database = opened(uri)
            cached = optuna.storages.get_storage(database)
            yield RetryingStorage(cached, Retry(address), database.engine.dispose)
    except ImportError as error:
        raise no_driver(error) from error
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        reason = redact(str(error).replace(address, redact_address(address)).splitlines()[0])
        raise BadInput(
            f"--storage is no usable database URL ({reason}): write sqlite:///FILE, "
            "postgresql://USER@HOST/DATABASE, or leave it out."
        ) from error
    except FAILURES as error:
        raise broken(error) from error


def _retried(
    method: Callable[Concatenate[BaseStorage, P], T],
) -> Callable[Concatenate[RetryingStorage, P], T]:
    """The same method of the wrapped storage, repeated while that is out."""
    name = method.__name__

    def call(self: RetryingStorage, /, *args: P.args, **kwargs: P.kwargs) -> T:
        wrapped: Callable[P, T] = getattr(self._storage, name)
        return self._retry(wrapped, *args, **kwargs)

    return call


class RetryingStorage(BaseStorage):
    """A storage each call of which is repeated while its database is out.

    A trial whose creation was carried out but never confirmed is created a second time; the first
    belongs to no worker, and `SharedStudy.sweep` fails it.
    """

    def __init__(self, storage: BaseStorage, retry: Retry, disconnect: Callable[[], None]) -> None:
        self._storage, self._retry, self._disconnect = storage, retry, disconnect

    def close(self) -> None:
        """Ends the connections to the database."""
        self._storage.remove_session()
        self._disconnect()

    create_new_study = _retried(BaseStorage.create_new_study)
    delete_study = _retried(BaseStorage.delete_study)
    set_study_user_attr = _retried(BaseStorage.set_study_user_attr)
    set_study_system_attr = _retried(BaseStorage.set_study_system_attr)
    get_study_id_from_name = _retried(BaseStorage.get_study_id_from_name)
    get_study_name_from_id = _retried(BaseStorage.get_study_name_from_id)
    get_study_directions = _retried(BaseStorage.get_study_directions)
    get_study_user_attrs = _retried(BaseStorage.get_study_user_attrs)
    get_study_system_attrs = _retried(BaseStorage.get_study_system_attrs)
    get_all_studies = _retried(BaseStorage.get_all_studies)
    create_new_trial = _retried(BaseStorage.create_new_trial)
    set_trial_param = _retried(BaseStorage.set_trial_param)
    get_trial_id_from_study_id_trial_number = _retried(
        BaseStorage.get_trial_id_from_study_id_trial_number
    )
    set_trial_state_values = _retried(BaseStorage.set_trial_state_values)
    set_trial_intermediate_value = _retried(BaseStorage.set_trial_intermediate_value)
    set_trial_user_attr = _retried(BaseStorage.set_trial_user_attr)
    set_trial_system_attr = _retried(BaseStorage.set_trial_system_attr)
    get_trial = _retried(BaseStorage.get_trial)
    get_all_trials = _retried(BaseStorage.get_all_trials)
    remove_session = _retried(BaseStorage.remove_session)
