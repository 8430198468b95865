/* SPDX-License-Identifier: MIT */
#include "id.h"

#include <string.h>

void fleet_id_format(const struct fleet_id *id, char text[FLEET_ID_TEXT])
{
	struct wire_global global = {.id = id->key.id, .secret = id->key.secret};

	strcpy(global.host, id->host);
	wire_global_format(&global, text);
}

int fleet_id_parse(const char *text, struct fleet_id *ret_id)
{
	struct wire_global global;
	int error = wire_global_parse(text, &global);

	if (error)
		return error;
	*ret_id = (struct fleet_id){.key = {global.id, global.secret}};
	strcpy(ret_id->host, global.host);
	return 0;
}
