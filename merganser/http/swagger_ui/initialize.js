// `validatorUrl: null`: Swagger UI must not send the document to its makers' validator.
SwaggerUIBundle({ dom_id: "#page", url: "/openapi.json", validatorUrl: null });
