from twisted.application.service import ServiceMaker

serviceMaker = ServiceMaker(
    "wit", "wit.tap", "A git host: git over HTTP and SSH, with one gate for every door.", "wit"
)
