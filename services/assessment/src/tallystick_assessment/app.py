"""Assessment's composition root: the only place that wires things."""

from litestar import Router
from litestar.di import Provide
from tallystick_chassis.rewrapping import rewrap_command
from tallystick_chassis.service import Job, Runtime, Service, Wiring
from tallystick_contracts.generated.assessment import ContentKeyRotated

from tallystick_assessment import consumers
from tallystick_assessment.assignments.api import (
    list_assignments,
    list_own_assignments,
    post_assignment_revoke,
    post_assignments,
)
from tallystick_assessment.attempts.api import get_attempt, post_attempt, post_submission, put_answer
from tallystick_assessment.certificates.api import (
    list_certificates,
    list_own_certificates,
    post_certificate_revoke,
    post_certificates,
)
from tallystick_assessment.certificates.publication import Publisher
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.evaluations.api import (
    get_evaluation,
    get_evaluation_version,
    list_evaluations,
    post_evaluation,
    post_release,
)
from tallystick_assessment.questions.api import get_question_version
from tallystick_assessment.remediation.api import (
    get_remediation,
    list_remediations,
    post_apply,
    post_remediation,
    post_revert,
)
from tallystick_assessment.scoring.api import get_score_history, list_own_results, list_scores
from tallystick_assessment.settings import AssessmentSettings
from tallystick_assessment.state import KINDS
from tallystick_assessment.submissions.api import get_submission, list_submissions

ROUTES = (
    get_question_version,
    post_evaluation,
    list_evaluations,
    get_evaluation,
    get_evaluation_version,
    post_release,
    post_assignments,
    post_assignment_revoke,
    list_assignments,
    list_own_assignments,
    post_attempt,
    get_attempt,
    put_answer,
    post_submission,
    list_submissions,
    get_submission,
    list_own_results,
    list_scores,
    get_score_history,
    post_remediation,
    list_remediations,
    get_remediation,
    post_apply,
    post_revert,
    post_certificates,
    post_certificate_revoke,
    list_certificates,
    list_own_certificates,
)
MISS_TABLES = ("evaluations", "assignments", "attempts", "submissions", "remediations", "certificates")


def wire(runtime: Runtime) -> Wiring:
    """Wire routes, handlers and jobs to one running process; RuntimeError for one without a key store."""
    if runtime.keys is None:
        msg = "assessment needs its key store"
        raise RuntimeError(msg)
    cipher = Cipher(runtime.keys)
    router = Router(
        path="/",
        route_handlers=ROUTES,
        dependencies={"cipher": Provide(lambda: cipher, sync_to_thread=False)},
        signature_types=[Cipher],
    )
    return Wiring(
        routes=(router,),
        handlers=consumers.handlers(cipher),
        jobs=(Job("publish-credentials", Publisher(runtime.database, runtime.duty).run, interval_s=0.5),),
        miss_tables=MISS_TABLES,
        state=KINDS,
    )


SERVICE = Service(
    name="assessment",
    package="tallystick_assessment",
    settings=AssessmentSettings,
    wire=wire,
    commands={"rewrap-keys": rewrap_command(ContentKeyRotated)},
)
