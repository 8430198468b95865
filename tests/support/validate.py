#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
validate.py SCHEMAS FOLDER COMMAND...: checks what commands printed, FOLDER/COMMAND.*, against SCHEMAS/COMMAND.json.

A file may hold several documents, one after the other. Each command must have a schema, and have printed a document. Each object
in a schema says which members there are and allows no others, so that a member that was added to the output is found.
"""
import json
import pathlib
import sys
import warnings

import jsonschema

# Later versions have another way beside RefResolver, which that of Debian 12 lacks.
warnings.simplefilter("ignore", DeprecationWarning)
schemas, folder, commands = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]), sys.argv[3:]
failed = False


def complain(text):
    global failed
    failed = True
    print("FAILED:", text)


def objects(schema, path=""):
    """All parts of a schema that describe an object."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield path, schema
        for name, part in schema.items():
            yield from objects(part, f"{path}/{name}")
    elif isinstance(schema, list):
        for at, part in enumerate(schema):
            yield from objects(part, f"{path}/{at}")


def documents(text):
    decoder, at = json.JSONDecoder(), 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return
        document, at = decoder.raw_decode(text, at)
        yield document


loaded = {}
for file in sorted(schemas.glob("*.json")):
    loaded[file.name] = schema = json.loads(file.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for path, part in objects(schema):
        if part.get("additionalProperties") is not False:
            complain(f"{file.name}{path} allows members that it does not name")
store = {(schemas / name).as_uri(): schema for name, schema in loaded.items()}
total = 0
for command in commands:
    name = f"{command}.json"
    if name not in loaded:
        complain(f"{command} has no schema {schemas / name}")
        continue
    resolver = jsonschema.RefResolver((schemas / name).as_uri(), loaded[name], store=store)
    validator = jsonschema.Draft202012Validator(loaded[name], resolver=resolver)
    count = 0
    for file in sorted(folder.glob(f"{command}.*")):
        try:
            found = list(documents(file.read_text()))
        except ValueError as error:
            complain(f"{file.name} is not JSON: {error}")
            continue
        for document in found:
            count += 1
            error = jsonschema.exceptions.best_match(validator.iter_errors(document))
            if error:
                complain(f"{file.name}: {error.json_path}: {error.message[:300]}")
    if not count:
        complain(f"{command} has printed no document")
    total += count
print(f"{total} documents of {len(commands)} commands")
sys.exit(failed)
