"""XML that tries to make its reader fetch or grow something (attack H5)."""

from __future__ import annotations

from tests.hl7_messages import cda, cda_section

_BODY = "<structuredBody>{}</structuredBody>"


def _text(text: str) -> str:
    return _BODY.format(cda_section("T", text))


def xxe(address: str, file: str) -> dict[str, bytes]:
    """Return twenty payloads by name; what they are after is at ``address`` or in ``file``."""
    doctypes = {
        "external entity, file": f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{file}">]>',
        "external entity, path": f'<!DOCTYPE x [<!ENTITY e SYSTEM "{file}">]>',
        "external entity, http": f'<!DOCTYPE x [<!ENTITY e SYSTEM "{address}">]>',
        "public entity": f'<!DOCTYPE x [<!ENTITY e PUBLIC "p" "{address}">]>',
        "internal entity": '<!DOCTYPE x [<!ENTITY e "CANARY">]>',
        "parameter entity": f'<!DOCTYPE x [<!ENTITY % p SYSTEM "{address}"> %p;]>',
        "nested parameters": f"<!DOCTYPE x [<!ENTITY % a \"<!ENTITY e SYSTEM '{file}'>\"> %a;]>",
        "external subset": f'<!DOCTYPE x SYSTEM "{address}">',
        "public subset": f'<!DOCTYPE x PUBLIC "-//x" "{address}">',
        "unparsed entity": f'<!DOCTYPE x [<!NOTATION n SYSTEM "{address}">'
        f'<!ENTITY e SYSTEM "{file}" NDATA n>]>',
        "billion laughs": "<!DOCTYPE x [<!ENTITY a 'ha'>"
        + "".join(f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(12))
        + "<!ENTITY e '&m;'>]>",
        "quadratic blow-up": f"<!DOCTYPE x [<!ENTITY e '{'a' * 50_000}'>]>",
        "recursion": "<!DOCTYPE x [<!ENTITY e '&f;'><!ENTITY f '&e;'>]>",
        "default attribute": "<!DOCTYPE x [<!ENTITY e ''><!ATTLIST text a CDATA 'CANARY'>]>",
    }
    made = {name: cda(_text("&e;" * 20), doctype=text) for name, text in doctypes.items()}
    made["no document type"] = cda(_text("&e;"))
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{file}" parse="text"/>'
    made["inclusion"] = cda(_text(include))
    made["schema"] = cda(_text("")).replace(
        "<ClinicalDocument",
        '<ClinicalDocument xmlns:s="http://www.w3.org/2001/XMLSchema-instance" '
        f's:schemaLocation="urn:hl7-org:v3 {address}"',
    )
    made["style sheet"] = f'<?xml-stylesheet type="text/xsl" href="{address}"?>' + cda(_text(""))
    encoded = {name: text.encode() for name, text in made.items()}
    sixteen = made["external entity, file"]
    encoded["UTF-16"] = f'<?xml version="1.0" encoding="UTF-16"?>{sixteen}'.encode("utf-16")
    reference = (
        f'<component><nonXMLBody><text mediaType="text/plain"><reference value="{address}"/>'
    )
    encoded["reference"] = cda(reference + "</text></nonXMLBody></component>").encode()
    return encoded
