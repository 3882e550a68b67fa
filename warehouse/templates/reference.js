"use strict";

window.ui = SwaggerUIBundle({
  spec: window.openapi,
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  tagsSorter: "alpha",
  validatorUrl: null,
  supportedSubmitMethods: [], // no server stands behind these pages
});
