"""Filing objects one by one, in order of arrival: as a new instance, a new version, or aside.

The same bytes again are nothing new. Other bytes under a SOP Instance UID that is taken are
compared with those that have it: the same content under the same identity is a new version; the
same content under another identity waits until the whole study has come so
(:mod:`dicom_node.relinking`); everything else lies in quarantine and freezes the study until a
person decides. Nothing is ever corrected silently, and no bytes are thrown away.

What becomes of an object depends on what was filed before it and on nothing else, so that filing
the same files again in the same order gives the same rows.
"""

from __future__ import annotations

from dicom_node import quarantine, study_rows
from dicom_node.arrivals import Arrival
from dicom_node.errors import Permanent
from dicom_node.headers import Header, Unreadable
from dicom_node.register import Objection, Register
from dicom_node.relinking import leave_out, switch, switch_if_whole

HEADER_CHANGE = "its header changed"
ACCEPTED_INSTEAD = "a person accepted another object in its place"


def file_object(register: Register, each: Arrival) -> None:
    """File one object; what has rows already is counted as repeated.

    Raises:
        OSError: the disk cannot be read.
        Transient: no parser or decoder can be had now.
    """
    if each.digest in register.known.held:
        register.repeated += 1
        return
    register.forget_refusal(each.digest)
    each = register.in_sequence(each)
    if isinstance(each.header, Unreadable):
        register.confine(each, Objection(quarantine.UNREADABLE, str(each.header)))
        return
    objection = register.objection(each, each.header)
    if objection is None:
        register.enter(each, each.header, HEADER_CHANGE)
        return
    register.confine(each, objection)
    if objection.cause == quarantine.IDENTITY:
        switch_if_whole(register, each.header)


def accept(register: Register, each: Arrival, cause: str) -> None:
    """File a quarantined object because a person decided so.

    Where it gives its study another identity, the study takes that one: what waits under it
    enters, and what was not sent under it is superseded, so that nothing of it is left.

    Args:
        register: knows the object (:meth:`Register.look_up`).
        each: the object.
        cause: why it lay in quarantine.

    Raises:
        Permanent: the object cannot be filed, whoever wants it.
    """
    header = each.header
    if not isinstance(header, Header):
        raise Permanent("an object that cannot be read cannot be accepted")
    uid, known = header.study_instance_uid, register.known
    if known.series.get(header.series_instance_uid, uid) != uid:
        raise Permanent("its series belongs to another study, so it cannot be accepted")
    current = known.instances.get(header.sop_instance_uid)
    if current is not None and current.digest == each.digest:
        raise Permanent("the same bytes came properly since and are stored")
    study = known.studies.get(uid)
    if study is not None and cause == quarantine.IDENTITY:
        if not study_rows.stands_under(study, header, register.settings):
            switch(register, header)
            leave_out(register, header, each.digest)
    elif study is not None and study_rows.contradicts(study, header):
        raise Permanent("its study belongs to another patient, so it cannot be accepted")
    register.enter(each, header, ACCEPTED_INSTEAD)
